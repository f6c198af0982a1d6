"""Configuration of `microturn evaluate change`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from microturn.configs.command import option, require_at_least
from microturn.evaluation.config import TargetConfig

Limits = Mapping[str, Mapping[str, float]]  # by suite and metric


@dataclass(frozen=True, kw_only=True)
class ChangeConfig:
    """What became of a checkpoint, in conversations with users who react."""

    before: list[str] = option(
        help="checkpoint that a training started from; of several trainings one for all, or one "
        "for each of `after`"
    )
    after: list[str] = option(help="checkpoints that it ended with, one for each training seed")
    users: dict[str, str] = option(
        default_factory=dict,
        help="users to talk with by name, each FILE.yaml key=value ... as `data` of loop=closed",
    )
    out: str = option(help="folder for change.md, change.json, pictures and all evaluations")
    n_dialogues: int = option(48, "conversations of each checkpoint with each kind of users")
    batch_size: int = option(48, "conversations held side by side; changes rounding at most")
    seed: int = option(0, "seed of the agent's voice and of the intervals")
    resamples: int = option(2000, "resamples of dialogues")
    device: str = option("auto", "device of the checkpoints: auto, cpu, cuda, ...")
    cache: str = option("", "folder for rooms; empty: the user's cache folder")
    n_pictures: int = option(1, "conversations drawn and written as sound, before and after")
    targets: TargetConfig = field(
        default_factory=TargetConfig, metadata={"help": "limits of metrics of `after`"}
    )
    may_fall: dict[str, dict[str, float]] = option(
        default_factory=dict,
        help="the most that a metric may fall by suite and metric: {turn: {right_word: 0.01}}",
    )
    may_rise: dict[str, dict[str, float]] = option(
        default_factory=dict, help="the most that a metric may rise by suite and metric"
    )
    also: list[str] = option(
        default_factory=list, help="further rows of the table: [tau_voice.yield_latency_s]"
    )
    table: str = option("", "also write the table between the marks of this Markdown page")
    json: str = option("", "also write change.json to this file, - for stdout")

    def __post_init__(self) -> None:
        require_at_least(self, "", n_dialogues=1, batch_size=1, n_pictures=0, resamples=100)
        if not self.before or len(self.before) not in (1, len(self.after)):
            raise ValueError(
                f"before has {len(self.before)} checkpoints and after {len(self.after)}; give one "
                "for all, or one for each"
            )
        if not self.users:
            raise ValueError("users is empty; take evaluation/reinforced.yaml")
        for name in self.users:
            if not re.fullmatch(r"\w+", name):
                raise ValueError(f"users.{name} names a folder; use letters, digits and _")
        if not self.rows:
            raise ValueError("nothing to compare; give targets, may_fall, may_rise or also")

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Suite and metric of every row of the table, in order."""
        limits: tuple[Limits, ...] = (
            self.targets.at_least,
            self.targets.at_most,
            self.may_fall,
            self.may_rise,
        )
        rows = [(suite, metric) for one in limits for suite, of in one.items() for metric in of]
        for name in self.also:
            suite, _, metric = name.partition(".")
            rows.append((suite, metric))
        return list(dict.fromkeys(rows))
