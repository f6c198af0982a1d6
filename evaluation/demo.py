"""`microturn demo`: the whole loop in one folder, one command after the other.

Every stage is a command that a user could type. It is printed, then run as a process, so that its
memory is freed when it ends. Finished stages are recorded and skipped the next time; an interrupted
one resumes as its own command does. The first ones let the checkpoint that ships talk with people
whom it never heard, so that there is something to hear before anything is trained. A few steps of
training on the held-out set, which is small,
tell early how long the rest will take.
"""

import ctypes
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

from microturn.configs.command import Command, option, starts_over
from microturn.configs.files import write_atomically
from microturn.configs.signals import ENDING, Interrupted, code_of, number_of
from microturn.evaluation import demo_estimate

SPEED_STEPS = 6  # of the training that is timed
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
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


@dataclass(frozen=True, kw_only=True)
class DemoStep:
    """One command of the demo."""

    name: str
    title: str
    words: list[str]
    result: Path  # exists when the stage has done its work
    has_targets: bool = False  # exit code 1 may mean a missed target


def stages_of(config: DemoConfig) -> list[DemoStep]:
    """The commands of a demo, in order."""
    out = Path(config.out)
    train, test, checkpoint = out / "data" / "train", out / "data" / "test", out / "checkpoint"
    people = ["suites=[people]", f"n_dialogues={config.n_test}"]
    strangers = out / "data" / "strangers"
    heard = ["suites=[turn]", "baselines=false", "n_pictures=1"]

    def score(name: str, title: str, *words: str, has_targets: bool = False) -> DemoStep:
        """Score a checkpoint: the demo's own if the words name one, else the one that ships."""
        return DemoStep(
            name=name,
            title=title,
            words=["evaluate", *words, f"out={out / name}"],
            result=out / name / "scores.json",
            has_targets=has_targets,
        )

    def simulate(name: str, title: str, folder: Path, n: int, seed: int) -> DemoStep:
        words = [f"out={folder}", f"split={name}", f"n_dialogues={n}", f"seed={seed}"]
        words = ["simulate", *config.simulate, *words]
        return DemoStep(name=name, title=title, words=words, result=folder / "index.json")

    measured = ["log=csv", "log_steps=1", f"max_steps={SPEED_STEPS}", "resume=false"]
    trained = [f"max_steps={config.max_steps}", f"streaming_validation.data={test}"]
    own = f"checkpoint={checkpoint}"
    targets = (*config.evaluate, f"data={test}")
    return [
        DemoStep(
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
        DemoStep(
            name="speed",
            title="measure a step of training",
            words=["train", *config.train, *measured, f"data={test}", f"out={out / 'speed'}"],
            result=out / "speed" / "log" / "metrics.csv",
        ),
        simulate("train", "simulate dialogues to train on", train, config.n_train, config.seed),
        DemoStep(
            name="checkpoint",
            title="train",
            words=["train", *trained, *config.train, f"data={train}", f"out={out}"],
            result=checkpoint / "model.safetensors",
        ),
        DemoStep(
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
    ledger = Ledger(out / "stages.json")
    print(_ANNOUNCEMENT, flush=True)
    for number, stage in enumerate(stages, start=1):
        head = f"[{number}/{len(stages)}] {stage.title}"
        if ledger.has(stage):
            print(f"{head}: done", flush=True)
        else:
            print(f"\n{head}\n$ microturn {shlex.join(stage.words)}", flush=True)
            if code := _run_and_record(stage, ledger):
                return code
        if stage.name == "hear":
            print_heard(out)
        if stage.name == "speed":
            _print_estimate(config, stages, ledger)
    write_report(out, ledger.seconds(stages), steps=demo_estimate.trained_steps(out))
    return 0


def _run_and_record(stage: DemoStep, ledger: "Ledger") -> int:
    """Run a stage and record it; the exit code of the demo where it failed, else 0."""
    if stage.has_targets:  # exit code 1 may mean a missed target: then there is a result
        stage.result.unlink(missing_ok=True)
    start = time.monotonic()
    code = run_stage(stage)
    if code not in (0, 1) or not stage.result.exists() or (code and not stage.has_targets):
        return _stopped(code, stage)
    ledger.add(stage, seconds=time.monotonic() - start, code=code)
    if stage.name == "speed":  # its model has learnt nothing
        for name in ("checkpoint", "states"):
            shutil.rmtree(stage.result.parent.parent / name, ignore_errors=True)
    return 0


def _print_estimate(config: DemoConfig, stages: list[DemoStep], ledger: "Ledger") -> None:
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


def _stopped(code: int, stage: DemoStep) -> int:
    raise_if_interrupted(code)
    print(
        f"microturn demo: stopped, because `{stage.words[0]}` {ended(code)}; what is finished "
        "stays, and the same command again continues from here",
        file=sys.stderr,
    )
    return 2 if code == 2 else 1


def raise_if_interrupted(code: int) -> None:
    """Raise the interrupt that the exit code of a stage stands for, if it does."""
    for number in ENDING:
        if code in (-number, code_of(number)):
            raise Interrupted(number)


def ended(code: int) -> str:
    """Say how a stage ended, by its exit code."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else "left no result"


def run_stage(stage: DemoStep) -> int:
    """Run one command as a process, which ends and saves its state when this one is told to end."""
    command = [sys.executable, "-m", "microturn.configs.main", *stage.words]
    # Python forgets a signal that its hooks of a fork are interrupted by: it waits until after.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process = subprocess.Popen(command, preexec_fn=partial(_begin_stage, before))
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    with process:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()  # a terminal or scheduler may have done so: twice saves once
            _wait_for_saving(process)
            raise


def _wait_for_saving(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a stage that saves its state; another Ctrl-C ends it at once."""
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt as interrupt:
            if number_of(interrupt) == signal.SIGINT:
                process.kill()


def _begin_stage(mask: set[int]) -> None:
    """In a new process: a signal that waits ends it; so does, on Linux, the death of the demo.

    Two trainings must not share a folder.
    """
    for number in ENDING:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def on_interrupt(config: DemoConfig, line: str) -> str:
    """Say where finished stages are recorded."""
    ledger = Path(config.out) / "stages.json"
    if not ledger.is_file():
        return starts_over(config, line)
    return f"finished stages are in {ledger}, and the last one keeps its own; continue with: {line}"


class Ledger:
    """Finished stages and their words; a stage with other words runs again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, object]] = {}
        if path.exists():
            try:
                self._rows = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}: not JSON; delete it to run every stage again") from error

    def has(self, stage: DemoStep) -> bool:
        row = self._rows.get(stage.name, {})
        return row.get("words") == stage.words and stage.result.exists()

    def add(self, stage: DemoStep, *, seconds: float, code: int) -> None:
        """Record a finished stage; forget those after it, which depend on its former result."""
        names = list(self._rows)
        kept = names[: names.index(stage.name)] if stage.name in names else names
        self._rows = {name: self._rows[name] for name in kept}
        row = {"words": stage.words, "seconds": round(seconds, 1), "code": code}
        self._rows[stage.name] = row
        write_atomically(self._path, json.dumps(self._rows, indent=2) + "\n")

    def seconds(self, stages: list[DemoStep]) -> dict[str, float]:
        return {stage.title: float(str(self._rows[stage.name]["seconds"])) for stage in stages}


DEMO = Command(
    schema=DemoConfig,
    run=run_demo,
    on_interrupt=on_interrupt,
    help="The whole loop: simulate, train, score beside baselines, report; finished parts stay.",
)
