"""`microturn demo`: the whole loop in one folder, one command after the other.

Every stage is a command that a user could type (stages.py), printed before it runs. The first ones
let the checkpoint that ships talk with people whom it never heard, so that there is something to
hear before anything is trained. A few steps of training on the held-out set, which is small, tell
early how long the rest will take.
"""

import shlex
import shutil
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from microturn.configs.command import Command, option, starts_over
from microturn.configs.load import ConfigError
from microturn.evaluation import demo_estimate
from microturn.evaluation.stages import LEDGER, CommandStage, Ledger, check_words, run_and_record

SPEED_STEPS = 6  # of the training that is timed
STRANGERS = 4  # dialogues that are heard first
_ANNOUNCEMENT = (
    "First you hear the checkpoint that ships. Then the demo trains one of its own, which takes "
    "about 17 minutes on two idle cores of an AMD EPYC and longer on slower or busy ones: it soon "
    "measures this machine. Ctrl-C stops it; the same command continues."
)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """`microturn demo`."""

    out: str = option("runs/demo", "folder for data, checkpoint, scores and report")
    seed: int = option(0, "seed of the training set; the test set takes the next one")
    n_train: int = option(5000, "dialogues to train on")
    n_test: int = option(160, "test dialogues to score on: new recordings and new people: none")
    max_steps: int = option(1400, "optimiser steps of training; fewer reach fewer targets")
    simulate: list[str] = option(
        default_factory=lambda: ["datagen/demo.yaml"], help="more words for `microturn simulate`"
    )
    train: list[str] = option(
        default_factory=lambda: ["training/tiny.yaml"], help="more words for `microturn train`"
    )
    evaluate: list[str] = option(
        default_factory=lambda: ["evaluation/demo_targets.yaml"],
        help="more words for `microturn evaluate`",
    )

    def __post_init__(self) -> None:
        for name in ("n_train", "n_test", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def stages_of(config: DemoConfig) -> list[CommandStage]:
    """The commands of a demo, in order."""
    out = Path(config.out)
    train, test, checkpoint = out / "data" / "train", out / "data" / "test", out / "checkpoint"
    people = ["suites=[people]", f"n_dialogues={config.n_test}"]
    strangers = out / "data" / "strangers"
    heard = ["suites=[turn]", "baselines=false", "n_pictures=1"]

    def score(name: str, title: str, *words: str, has_targets: bool = False) -> CommandStage:
        """Score a checkpoint: the demo's own if the words name one, else the one that ships."""
        return CommandStage(
            name=name,
            title=title,
            words=["evaluate", *words, f"out={out / name}"],
            result=out / name / "scores.json",
            has_targets=has_targets,
        )

    def simulate(name: str, title: str, folder: Path, n: int, seed: int) -> CommandStage:
        words = [f"out={folder}", f"split={name}", f"n_dialogues={n}", f"seed={seed}"]
        words = ["simulate", *config.simulate, *words]
        return CommandStage(name=name, title=title, words=words, result=folder / "index.json")

    measured = ["log=csv", "log_steps=1", f"max_steps={SPEED_STEPS}", "resume=false"]
    trained = [f"max_steps={config.max_steps}", f"streaming_validation.data={test}"]
    own = f"checkpoint={checkpoint}"
    targets = (*config.evaluate, f"data={test}")
    return [
        CommandStage(
            name="strangers",
            title="simulate people whom nobody was trained on",
            words=[
                *("simulate", *config.simulate, "evaluation/suites/people.yaml"),
                *("voices.people=unseen", f"n_dialogues={STRANGERS}", f"out={strangers}"),
            ],
            result=strangers / "index.json",
        ),
        score("hear", "let the checkpoint that ships talk with them", *heard, f"data={strangers}"),
        simulate("test", "simulate dialogues to score on", test, config.n_test, config.seed + 1),
        CommandStage(
            name="speed",
            title="measure a step of training",
            words=["train", *config.train, *measured, f"data={test}", f"out={out / 'speed'}"],
            result=out / "speed" / "log" / "metrics.csv",
        ),
        simulate("train", "simulate dialogues to train on", train, config.n_train, config.seed),
        CommandStage(
            name="checkpoint",
            title="train",
            words=["train", *trained, *config.train, f"data={train}", f"out={out}"],
            result=checkpoint / "model.safetensors",
        ),
        CommandStage(
            name="examples",
            title="pick examples for its page",
            words=["examples", str(test), own],
            result=checkpoint / "examples" / "examples.json",
        ),
        score("scores", "score it beside the baselines", *targets, own, has_targets=True),
        score("people", "score it on people whom it never heard", *people, own),
        score(
            "shipped",
            "score the checkpoint that ships on the same dialogues",
            *(*targets, "baselines=false"),
            has_targets=True,
        ),
        score("shipped-people", "score it on the same people", *people, "baselines=false"),
    ]


def run_demo(config: DemoConfig) -> int:
    """Run the stages that are not finished, then write and print the report; 0 when all ended."""
    from microturn.evaluation.demo_report import print_heard, write_report

    out = Path(config.out)
    stages = stages_of(config)
    for stage in stages:
        try:
            check_words(stage.words)
        except ConfigError as error:
            raise ConfigError(f"words for `microturn {stage.words[0]}`: {error}") from error
    ledger = Ledger(out / LEDGER)
    print(_ANNOUNCEMENT, flush=True)
    for number, stage in enumerate(stages, start=1):
        head = f"[{number}/{len(stages)}] {stage.title}"
        if ledger.has(stage):
            print(f"{head}: done", flush=True)
        else:
            print(f"\n{head}\n$ microturn {shlex.join(stage.words)}", flush=True)
            ledger.forget(later.name for later in stages[number:])  # they read its former result
            if code := run_and_record(stage, ledger, program="demo"):
                return code
            if stage.name == "speed":  # its model has learnt nothing
                for name in ("checkpoint", "states"):
                    shutil.rmtree(out / "speed" / name, ignore_errors=True)
        if stage.name == "hear":
            print_heard(out)
        if stage.name == "speed":
            _print_estimate(config, stages, ledger)
    write_report(out, ledger.seconds(stages), steps=demo_estimate.trained_steps(out))
    return 0


def _print_estimate(config: DemoConfig, stages: list[CommandStage], ledger: "Ledger") -> None:
    """Say how long the stages that are left will take."""
    out, by_name = Path(config.out), {stage.name: stage for stage in stages}
    step_s = demo_estimate.measured_step_s(by_name["speed"].result)
    steps = demo_estimate.last_value(by_name["checkpoint"].words, "max_steps", config.max_steps)
    expected = demo_estimate.expected_s(
        step_s,
        n_train=config.n_train,
        n_test=config.n_test,
        steps=steps,
        trained=demo_estimate.trained_steps(out),
    )
    done = list(takewhile(lambda name: ledger.has(by_name[name]), expected))
    left = {name: value for name, value in expected.items() if name not in done}
    if left:
        titles = {name: by_name[name].title for name in left}
        print(f"\n{demo_estimate.summary(step_s, left, titles)}", flush=True)


def on_interrupt(config: DemoConfig, line: str) -> str:
    """Say where finished stages are recorded."""
    ledger = Path(config.out) / LEDGER
    if not ledger.is_file():
        return starts_over(config, line)
    return f"finished stages are in {ledger}, and the last one keeps its own; continue with: {line}"


DEMO = Command(
    schema=DemoConfig,
    run=run_demo,
    on_interrupt=on_interrupt,
    help="The whole loop: simulate, train, score beside baselines, report; finished parts stay.",
)
