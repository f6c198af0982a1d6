"""What a benchmark is: held-out dialogues of one kind, and how what an agent did in them is scored.

A suite is two pure functions. `observe` looks at one dialogue as one agent played it and keeps
plain facts, small enough for a line of JSON. `measure` makes named numbers from the facts of many
dialogues; it is called once for the table and again for every bootstrap resample of dialogues, so
it must give the same for any order of them and do nothing slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microturn.configs.load import CONFIG_DIR
from microturn.evaluation.scoring.scene import ScoredDialogue

Observations = dict[str, Any]  # JSON-able
Measured = dict[str, float | None]  # by metric; None where nothing was measured

SUITE_CONFIGS = "evaluation/suites"  # below configs/


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One benchmark. Raises ValueError when its headline is none of its metrics."""

    name: str
    asks: str  # what it asks of an agent, in one line: "the agent ..."
    headline: str  # the metric that stands for the suite: 0 to 1, higher is better
    title_note: str  # what it is a twin of, and how it differs; stands under the table's title
    observe: Callable[[ScoredDialogue], Observations]
    measure: Callable[[Sequence[Observations]], Measured]
    n_dialogues: int  # that a full evaluation plays
    meanings: Mapping[str, str]  # every metric of `measure`, in the order of the table
    dialogues_of: str = ""  # whose dialogues it plays; empty: its own
    oracle_note: str = ""  # why even the oracle stays below 99 %; empty: it does not

    def __post_init__(self) -> None:
        if self.headline not in self.meanings:
            raise ValueError(f"suite {self.name}: its headline {self.headline} has no meaning")

    @property
    def set_name(self) -> str:
        """The name of its set of dialogues."""
        return self.dialogues_of or self.name

    @property
    def data(self) -> str:
        """Its `microturn simulate` configuration, as a file below configs/."""
        return f"{SUITE_CONFIGS}/{self.set_name}.yaml"

    @property
    def data_path(self) -> Path:
        return CONFIG_DIR / self.data

    def check(self, measured: Measured) -> Measured:
        """`measured` in the order of `meanings`; raises ValueError for a metric without meaning."""
        unknown = sorted(set(measured) - set(self.meanings))
        if unknown:
            raise ValueError(f"suite {self.name}: no meaning of {', '.join(unknown)}")
        return {name: measured.get(name) for name in self.meanings}
