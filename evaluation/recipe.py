"""`microturn recipe`: the stages of a file, one command after the other, in one folder.

A file in configs/recipes/ lists what leads to a checkpoint: sets, trainings, scores. Every stage is
a command that a user could type (stages.py). A stage that was finished with other words, other
files, or other stages before it is refused until `redo=` names it: its result may have taken hours,
and what was made from it would no longer fit.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from microturn.configs.command import Command, option, starts_over
from microturn.configs.load import ConfigError, find_config
from microturn.evaluation.stages import LEDGER, CommandStage, Ledger, check_words, run_and_record

OUT: Final = "{out}"


@dataclass(frozen=True, kw_only=True)
class RecipeStage:
    """One command of a recipe."""

    says: str = option("", "what it is for, in a few words")
    command: str = option("", "words after `microturn`; {out} is the folder of the recipe")
    result: str = option("", "file that is there when the command has done its work")
    after: list[str] | None = option(
        None, "stages whose results it reads; null: all that stand before it"
    )

    def words(self, out: str) -> list[str]:
        return [word.replace(OUT, out) for word in shlex.split(self.command)]


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """`microturn recipe`."""

    out: str = option("runs/recipe", "folder of all results, {out} in the stages")
    stages: dict[str, RecipeStage] = field(
        default_factory=dict, metadata={"help": "commands by name, in order"}
    )
    redo: list[str] = option(
        default_factory=list,
        help="run these stages again, and those that read their results; their folders are removed",
    )

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("no stages are given; take a file such as recipes/ship.yaml")
        names: list[str] = []
        for name, stage in self.stages.items():
            _check(name, stage, names)
            names.append(name)
        for name in self.redo:
            if name not in self.stages:
                raise ValueError(f"redo has {name!r}; the stages are {', '.join(self.stages)}")


def _check(name: str, stage: RecipeStage, before: Sequence[str]) -> None:
    """Raise ValueError for the first field of a stage that cannot be right."""
    for other in stage.after or ():
        if other not in before:
            raise ValueError(
                f"stages.{name}.after has {other!r}, which is no stage before it"
                + (f"; there are {', '.join(before)}" if before else "")
            )
    if not stage.result:
        raise ValueError(
            f"stages.{name}.result is missing; name a file that the command leaves, such as "
            f"'{OUT}/{name}/index.json'"
        )
    try:
        words = stage.words("OUT")
    except ValueError as error:
        raise ValueError(f"stages.{name}.command cannot be read ({error})") from error
    try:
        check_words(words)
    except ConfigError as error:
        raise ValueError(f"stages.{name}.command: {error}") from error


def stages_of(config: RecipeConfig) -> list[CommandStage]:
    """The commands of a recipe, in order."""
    made: dict[str, CommandStage] = {}
    for name, stage in config.stages.items():
        words = stage.words(config.out)
        inputs = {word: _digest_of_file(word) for word in words if _is_file(word)}
        for other in made if stage.after is None else stage.after:
            inputs[f"stage {other}"] = _digest([made[other].words, dict(made[other].inputs)])
        made[name] = CommandStage(
            name=name,
            title=stage.says or name,
            words=words,
            result=Path(stage.result.replace(OUT, config.out)),
            inputs=inputs,
        )
    return list(made.values())


def _is_file(word: str) -> bool:
    return "=" not in word and word.endswith((".yaml", ".yml"))


def _digest_of_file(file: str) -> str:
    """Digest of what a configuration file says: comments and layout do not count."""
    from omegaconf import OmegaConf

    return _digest(OmegaConf.to_container(OmegaConf.load(find_config(file)), resolve=False))


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_recipe(config: RecipeConfig) -> int:
    """Run the stages that are not finished, then print what each took; 0 when all ended."""
    stages = stages_of(config)
    ledger = Ledger(Path(config.out) / LEDGER)
    if config.redo:
        again = [stage for stage in stages if stage.name in _names_again(config)]
        _remove_results(Path(config.out), again, [one for one in stages if one not in again])
        ledger.forget(stage.name for stage in again)
    _refuse_changed(ledger, stages)
    for number, stage in enumerate(stages, start=1):
        head = f"[{number}/{len(stages)}] {_head(stage)}"
        if ledger.has(stage):
            print(f"{head}: done", flush=True)
            continue
        print(f"\n{head}\n$ microturn {shlex.join(stage.words)}", flush=True)
        if code := run_and_record(stage, ledger, program="recipe"):
            return code
    print("\n" + "\n".join(table(stages, ledger)), flush=True)
    return 0


def _head(stage: CommandStage) -> str:
    return stage.name if stage.title == stage.name else f"{stage.name}: {stage.title}"


def _names_again(config: RecipeConfig) -> set[str]:
    """Stages that `redo` names, and those that read their results."""
    again = set(config.redo)
    earlier: list[str] = []
    for name, stage in config.stages.items():
        if again & set(earlier if stage.after is None else stage.after):
            again.add(name)
        earlier.append(name)
    return again


def _remove_results(out: Path, again: Sequence[CommandStage], kept: Sequence[CommandStage]) -> None:
    """Remove what stages left in the folder of the recipe: folders of their own, else results."""
    places = [place.resolve() for stage in kept for place in (stage.result, *_folders_of(stage))]
    for stage in again:
        for place in (*_folders_of(stage), stage.result):
            path = place.resolve()
            inside = out.resolve() in path.parents
            if inside and not any(path == one or path in one.parents for one in places):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def _folders_of(stage: CommandStage) -> Iterator[Path]:
    for word in stage.words:
        if word.startswith("out="):
            yield Path(word.removeprefix("out="))


def _refuse_changed(ledger: Ledger, stages: Sequence[CommandStage]) -> None:
    """Raise ConfigError that names the first stage that is not as it was when it finished."""
    for stage in stages:
        if change := ledger.change(stage):
            raise ConfigError(
                f"stage {stage.name!r} was finished with {change} than it has now; "
                f"redo={stage.name} removes its result and runs it again, with the stages that "
                "read it, and another out= starts a folder of its own"
            )


def table(stages: Sequence[CommandStage], ledger: Ledger) -> list[str]:
    """Minutes of every finished stage as Markdown that reads as text."""
    seconds = ledger.seconds(stages)
    rows = [(_head(stage), seconds[stage.title]) for stage in stages]
    rows.append(("all", sum(seconds.values())))
    width = max(len(title) for title, _ in rows)
    lines = [f"| {'stage':<{width}} | minutes |", f"|-{'-' * width}-|--------:|"]
    return lines + [f"| {title:<{width}} | {value / 60:7.1f} |" for title, value in rows]


def _on_interrupt(config: RecipeConfig, line: str) -> str:
    """Say how many stages are finished, and the line that continues: it redoes nothing."""
    words = [word for word in shlex.split(line) if not word.startswith(("redo=", "--redo"))]
    line = shlex.join(words)
    path = Path(config.out) / LEDGER
    if not path.is_file():
        return starts_over(config, line)
    ledger, stages = Ledger(path), stages_of(config)
    n = sum(ledger.has(stage) for stage in stages)
    return (
        f"{n} of {len(stages)} stages are finished in {path}, and the one that ran keeps its own; "
        f"continue with: {line}"
    )


RECIPE = Command(
    schema=RecipeConfig,
    run=run_recipe,
    on_interrupt=_on_interrupt,
    files="recipes",
    help="Run the commands of a file such as recipes/ship.yaml one by one; finished ones stay.",
)
