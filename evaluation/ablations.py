"""`microturn ablate`: the effect of each choice, with the same steps, seed and dialogues.

A table of variants comes from a file in configs/ablations/. Each is simulated, trained and scored
by the commands that a user would type, one process each; what is finished is written down beside
its result and skipped the next time. Sets and checkpoints that variants share are made once.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copytree
from typing import Any, Final

from microturn.configs.command import Command, option, starts_over, write_json
from microturn.configs.files import write_atomically
from microturn.configs.reading import MISFITS
from microturn.evaluation.stages import CommandStage, ended, raise_if_interrupted, run_stage

# Columns from scores.json: suite, metric, head of the column.
COLUMNS: Final = (
    ("turn", "answered", "turn answered"),
    ("interruption", "stopped_in_time", "interruption stopped"),
    ("timed_cue", "in_window", "timed cue in window"),
    ("overall", "mean_headline", "mean of suites"),
    ("overall", "spurious_share", "spurious"),
    ("overall", "sounds_as_written", "sounds as written"),
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: words in addition to those that all variants share."""

    says: str = option("", "name of the row in the table")
    simulate: list[str] = option(default_factory=list, help="more words for `microturn simulate`")
    train: list[str] = option(default_factory=list, help="more words for `microturn train`")
    n_train: int = option(0, "dialogues to train on; 0: as many as the others")
    checkpoint_of: str = option("", "score this variant's checkpoint instead of training one")
    model: dict[str, Any] = option(
        default_factory=dict, help="with checkpoint_of: model keys that are changed for scoring"
    )


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """`microturn ablate`."""

    out: str = option("runs/ablations", "folder for sets, runs, scores and the table")
    steps: int = option(400, "optimiser steps of every training")
    seed: int = option(0, "seed of every training and training set; test sets take the next one")
    n_train: int = option(3200, "dialogues to train on")
    n_test: int = option(160, "test dialogues to score on")
    simulate: list[str] = option(default_factory=list, help="words of every `microturn simulate`")
    simulate_test: list[str] = option(default_factory=list, help="more words for those of tests")
    train: list[str] = option(default_factory=list, help="words of every `microturn train`")
    evaluate: list[str] = option(default_factory=list, help="words of every `microturn evaluate`")
    variants: dict[str, Variant] = field(
        default_factory=dict, metadata={"help": "rows of the table by name, in order"}
    )
    only: list[str] = option(default_factory=list, help="run these variants; none: all")
    json: str = option("", "also write the table's numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError("no variants are given; take a file such as ablations/tiny.yaml")
        for name in self.only:
            if name not in self.variants:
                raise ValueError(f"only has {name!r}; there are {', '.join(self.variants)}")
        for name, variant in self.variants.items():
            other = variant.checkpoint_of
            if other and (other not in self.variants or self.variants[other].checkpoint_of):
                raise ValueError(
                    f"variants.{name}.checkpoint_of={other} must name a variant that is trained"
                )
            if other and (variant.simulate or variant.train or variant.n_train):
                raise ValueError(f"variants.{name} has a checkpoint_of, so it can take no words")
            if variant.model and not other:
                raise ValueError(f"variants.{name}.model needs checkpoint_of; put it into train")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command, the results of earlier ones that it reads, and its result."""

    stage: CommandStage
    needs: tuple[Path, ...] = ()

    @property
    def note(self) -> Path:
        return self.stage.result.with_name(f"{self.stage.result.stem}.done.json")

    @property
    def mark(self) -> dict[str, Any]:
        """Inputs of the result: the words, and the files by content."""
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.needs]
        return {"words": self.stage.words, "needs": digests}

    def done(self) -> dict[str, Any] | None:
        """Seconds of the finished step, or nothing when it has to run."""
        if not self.note.exists() or not self.stage.result.exists():
            return None
        with suppress(*MISFITS):  # damaged: the step runs again
            note = dict(json.loads(self.note.read_text(encoding="utf-8")))
            mark = self.mark
            return note if {name: note.get(name) for name in mark} == mark else None
        return None


@dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """Paths of a configuration, and the steps of one variant."""

    config: AblationConfig

    @property
    def out(self) -> Path:
        return Path(self.config.out)

    def data(self, variant: Variant, split: str) -> Path:
        """Folder of a shard set; variants with the same words and size share it."""
        shared = [self.config.simulate, variant.simulate]
        words = json.dumps([*shared, variant.n_train] if variant.n_train else shared)
        name = hashlib.sha256(words.encode()).hexdigest()[:8]
        return self.out / "data" / name / split

    def checkpoint(self, name: str) -> Path:
        return self.out / name / "checkpoint"

    def steps(self, name: str) -> Iterator[Step]:
        variant = self.config.variants[name]
        trained = variant.checkpoint_of or name
        source = self.config.variants[trained]
        sets = {split: self.data(source, split) for split in ("train", "test")}
        sizes = {"train": source.n_train or self.config.n_train, "test": self.config.n_test}
        for shift, (split, folder) in enumerate(sets.items()):
            numbers = [f"n_dialogues={sizes[split]}", f"seed={self.config.seed + shift}"]
            words = [*self.config.simulate, *source.simulate]
            words += self.config.simulate_test if split == "test" else []
            words += [f"out={folder}", f"split={split}"]
            yield Step(stage=_stage("simulate", [*words, *numbers], folder / "index.json"))
        weights = self.checkpoint(trained) / "model.safetensors"
        words = [*self.config.train, *source.train, f"max_steps={self.config.steps}"]
        words += [f"seed={self.config.seed}", f"data={sets['train']}", f"out={self.out / trained}"]
        yield Step(stage=_stage("train", words, weights), needs=(sets["train"] / "index.json",))
        checkpoint = self.checkpoint(name)
        scores = self.out / name / "scores"
        words = [*self.config.evaluate, f"data={sets['test']}", f"checkpoint={checkpoint}"]
        words += [f"seed={self.config.seed}", f"out={scores}"]
        needs = [weights, sets["test"] / "index.json"]
        if variant.model:
            needs.append(checkpoint / "config.yaml")
        yield Step(stage=_stage("evaluate", words, scores / "scores.json"), needs=tuple(needs))


def _stage(command: str, words: list[str], result: Path) -> CommandStage:
    return CommandStage(name=command, title=command, words=[command, *words], result=result)


def run_ablations(config: AblationConfig) -> int:
    """Run what is not done yet, then write the table of all variants that are."""
    plan, names = AblationPlan(config=config), config.only or list(config.variants)
    for number, name in enumerate(names, start=1):
        print(f"[{number}/{len(names)}] {name}: {config.variants[name].says}", flush=True)
        for step in plan.steps(name):
            if step.stage.name == "evaluate" and config.variants[name].model:
                _change_model(plan, name)
            code = 0 if step.done() else _run(step)
            if code:
                return code
        _write(plan)  # the table so far
    rows = _write(plan)
    sys.stdout.write("" if config.json == "-" else table(rows, config))
    write_json({"steps": config.steps, "seed": config.seed, "variants": rows}, config.json)
    return 0


def _run(step: Step) -> int:
    print(f"$ microturn {shlex.join(step.stage.words)}", flush=True)
    step.note.unlink(missing_ok=True)
    began, cpu_began = time.monotonic(), _children_seconds()
    code = run_stage(step.stage)
    raise_if_interrupted(code)
    if code:
        print(
            f"microturn ablate: `{step.stage.name}` {ended(code, step.stage.result)}",
            file=sys.stderr,
        )
        return 2 if code == 2 else 1
    spent = {"seconds": time.monotonic() - began, "cpu_seconds": _children_seconds() - cpu_began}
    write_atomically(step.note, json.dumps({**step.mark, **spent}, indent=2) + "\n")
    return 0


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _change_model(plan: AblationPlan, name: str) -> None:
    """Copy another variant's checkpoint and change keys of its configuration."""
    from omegaconf import OmegaConf

    variant, folder = plan.config.variants[name], plan.checkpoint(name)
    copytree(plan.checkpoint(variant.checkpoint_of), folder, dirs_exist_ok=True)
    settings = OmegaConf.load(folder / "config.yaml")
    for key, value in variant.model.items():
        if OmegaConf.select(settings, key) is None:
            raise ValueError(f"variants.{name}.model has {key!r}, which the model has not")
        OmegaConf.update(settings, key, value)
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(settings))


def _write(plan: AblationPlan) -> dict[str, Any]:
    """Rows of finished variants; `table.md` and `table.json` beside the runs."""
    rows = {}
    for name, variant in plan.config.variants.items():
        notes = {}
        for step in plan.steps(name):
            if any(not path.exists() for path in step.needs) or not (note := step.done()):
                break
            notes[step.stage.name] = note
        else:
            rows[name] = {"says": variant.says, **_row(plan, name, notes)}
    write_atomically(plan.out / "table.md", table(rows, plan.config))
    write_json(rows, str(plan.out / "table.json"))
    return rows


def _row(plan: AblationPlan, name: str, notes: dict[str, Any]) -> dict[str, Any]:
    """Sizes, cost and scores of one finished variant."""
    from microturn.evaluation.report.markdown import shared_sentence
    from microturn.evaluation.report.scores import read_scores
    from microturn.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(plan.checkpoint(name))
    sizes = loaded.model.describe()
    scores = read_scores(plan.out / name / "scores")
    positions = loaded.layout.n_positions * 1000 / loaded.layout.micro_turn_ms
    return {
        "parameters_total": sizes["parameters_total"],
        "parameters_active": sizes["parameters_active"],
        "positions_per_second": positions,
        "training_cpu_seconds": round(notes["train"]["cpu_seconds"], 1),
        "scoring_cpu_seconds": round(notes["evaluate"]["cpu_seconds"], 1),
        "n_dialogues": scores.info.n_dialogues,
        "test": shared_sentence(scores.info),
        "metrics": {
            f"{suite}.{metric}": asdict(scores.first.suites[suite].metrics[metric])
            for suite, metric, _ in COLUMNS
        },
    }


def table(rows: dict[str, Any], config: AblationConfig) -> str:
    """Markdown: percent with 95 % intervals over dialogues."""
    head = ["variant", "positions/s", "parameters", "active", "CPU s to train"]
    head += [title for *_, title in COLUMNS]
    tests = sorted({row["test"] for row in rows.values()} - {""})
    lines = [
        f"{config.steps} steps, seed {config.seed}, {config.n_train} dialogues to train on, "
        f"{config.n_test} test dialogues; closed-domain twins.",
        *tests,
        "",
        _line(head),
        _line(["---"] * len(head)),
    ]
    for name, row in rows.items():
        trained = not config.variants[name].checkpoint_of
        cells = [
            row["says"] or name,
            f"{row['positions_per_second']:g}",
            f"{row['parameters_total'] / 1e6:.2f} M",
            f"{row['parameters_active'] / 1e6:.2f} M",
            f"{row['training_cpu_seconds']:.0f}" if trained else "as above",
        ]
        lines.append(_line([*cells, *(_percent(value) for value in row["metrics"].values())]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "-"
    low, high = metric["ci95"] or (metric["value"], metric["value"])
    return f"{100 * metric['value']:.1f} [{100 * low:.0f}, {100 * high:.0f}] n={metric['n']}"


def _on_interrupt(config: AblationConfig, line: str) -> str:
    n = len(list(Path(config.out).rglob("*.done.json")))
    if not n:
        return starts_over(config, line)
    return f"{n} finished commands are kept in {config.out}; continue with: {line}"


ABLATE = Command(
    schema=AblationConfig,
    run=run_ablations,
    on_interrupt=_on_interrupt,
    positionals=("out",),
    files="ablations",
    help="Train and score the variants of a file such as ablations/tiny.yaml; finished parts stay.",
)
