"""`microturn evaluate change`: what a training made of a checkpoint, with users who react.

Every checkpoint talks with the same users, all dialogues at once, by `evaluate loop=closed`. What
the runs of several training seeds did is pooled, dialogue by dialogue.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from microturn.configs.command import write_json
from microturn.configs.files import make_folder, write_atomically
from microturn.configs.load import ConfigError, save_config
from microturn.evaluation.change.config import ChangeConfig
from microturn.evaluation.change.measured import Change, Run, changes
from microturn.evaluation.change.table import MARKS, state, table
from microturn.evaluation.closed_loop.closed_loop import check, score_closed
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.report import markdown
from microturn.evaluation.report.observations import read_observations
from microturn.evaluation.report.values import format_value
from microturn.evaluation.runner import CHECKPOINT
from microturn.evaluation.suites.registry import load_suite, suites_of_any_set
from microturn.model.config import folder_of

NAME: Final = "change.json"


def evaluate_change(config: ChangeConfig) -> int:
    """Run the command; 0 done, 1 a goal was missed."""
    check_change(config)
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    found: dict[str, list[Change]] = {}
    minutes = 0.0
    for users in config.users:
        runs: dict[str, list[Run]] = {"before": [], "after": []}
        for side, name, evaluation in evaluations(config, users):
            print(f"{users}: {name}, {evaluation.checkpoint}", flush=True)
            minutes = score_closed(evaluation).info.minutes
            runs[side].append(read_observations(Path(evaluation.out), CHECKPOINT))
            _collect_pictures(out / "pictures", f"{users}-{name}", evaluation)
        found[users] = changes(config, runs["before"], runs["after"])
    text = table(config, found, minutes=minutes)
    write_atomically(out / "change.md", f"# Before and after\n\n{text}\n")
    if config.table:
        markdown.put_into(Path(config.table), text, marks=MARKS)
    result = {
        "before": config.before,
        "after": config.after,
        "seed": config.seed,
        "n_dialogues": config.n_dialogues,
        "users": {
            users: {"data": config.users[users], "changes": [one.to_json() for one in some]}
            for users, some in found.items()
        },
    }
    write_json(result, str(out / NAME))
    write_json(result, config.json)
    if config.json != "-":
        print(_summary(found))
        print(f"see {out / 'change.md'} and {out / 'pictures'}")
    goals = [goal for some in found.values() for one in some for goal in one.goals]
    return 1 if any(goal.missed for goal in goals) else 0


def check_change(config: ChangeConfig) -> None:
    """Raise ConfigError or ValueError for names of nothing and for a page without marks."""
    for suite, metric in config.rows:
        if suite not in suites_of_any_set() or metric not in load_suite(suite).meanings:
            raise ConfigError(
                f"there is no metric {suite}.{metric}; suites are {', '.join(suites_of_any_set())}"
            )
    for users in config.users:
        for _, _, evaluation in evaluations(config, users):
            check(evaluation)
    if config.table:
        markdown.check_page(Path(config.table), marks=MARKS)


def evaluations(config: ChangeConfig, users: str) -> Iterator[tuple[str, str, EvaluateConfig]]:
    """Yield side, name and evaluation of every checkpoint with some users."""
    for side, checkpoints in (("before", config.before), ("after", config.after)):
        for number, checkpoint in enumerate(checkpoints, start=1):
            name = f"{side}{number}"
            yield (
                side,
                name,
                EvaluateConfig(
                    loop="closed",
                    data=config.users[users],
                    checkpoint=folder_of(checkpoint),
                    out=str(Path(config.out) / users / name),
                    suites=list(dict.fromkeys(suite for suite, _ in config.rows)),
                    n_dialogues=config.n_dialogues,
                    batch_size=min(config.batch_size, config.n_dialogues),
                    seed=config.seed,
                    device=config.device,
                    cache=config.cache,
                    baselines=False,
                    n_pictures=config.n_pictures,
                ),
            )


def _collect_pictures(folder: Path, name: str, evaluation: EvaluateConfig) -> None:
    """Copy what an evaluation has drawn, so that a dialogue lies beside itself."""
    made = sorted((Path(evaluation.out) / "pictures").glob(f"{CHECKPOINT}-*"))
    for path in made[: 2 * evaluation.n_pictures]:
        key = path.name.removeprefix(f"{CHECKPOINT}-")
        make_folder(folder)
        shutil.copyfile(path, folder / f"{name}-{key}")


def _summary(found: Mapping[str, Sequence[Change]]) -> str:
    lines = []
    for users, some in found.items():
        lines.append(f"{users.replace('_', ' ')}:")
        for one in some:
            values = (format_value(one.metric, side.value) for side in (one.before, one.after))
            before, after = values
            name = f"{one.suite}.{one.metric}"
            lines.append(f"  {name:<40}{before:>9} -> {after:<9}  {state(one)}".rstrip())
    return "\n".join(lines)
