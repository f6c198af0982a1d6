"""A suite: test dialogues of one kind, and how an agent's part in them is scored.

A suite is two pure functions. `observe` reads one dialogue as one agent played it and returns its
observations, small enough for a line of JSON. `measure` turns the observations of many dialogues
into named metrics; `statistics.py` keeps the number of events behind each. It is called once for
the table, for each dialogue alone and for every bootstrap resample of dialogues, so it must not
depend on their order and must be fast; where it is not, `resample` computes all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.configs.load import CONFIG_DIR
from microturn.evaluation.scoring.restraint import CREDIT as CREDIT
from microturn.evaluation.scoring.scene import ScoredDialogue

Observations = dict[str, Any]  # JSON-able; only their own suite reads them
Measured = dict[str, float | None]  # by metric; None where nothing was measured
Draws = NDArray[np.int64]  # indices of dialogues, (resamples, dialogues)

SUITE_CONFIGS = "evaluation/suites"  # below configs/


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite. Raises ValueError when its headline is none of its metrics."""

    name: str
    asks: str  # of an agent, in one line: "the agent ..."
    title_note: str  # its model and how it differs; stands under the table's title
    observe: Callable[[ScoredDialogue], Observations]
    measure: Callable[[Sequence[Observations]], Measured]
    n_dialogues: int  # that a full evaluation plays
    meanings: Mapping[str, str]  # every metric of `measure`, in the order of the table
    headline: str = CREDIT  # the metric that stands for the suite: 0 to 1, higher is better
    floor: float = 0.1  # the line below which every member of the adversarial panel stays
    dialogues_of: str = ""  # the set it plays; empty: its own
    is_twin: bool = True  # of a benchmark, in a closed domain; else open speech
    transcribed: bool = False  # a recogniser hears its dialogues, too: `Dialogue.recognised`
    by_speech: bool = False  # it scores by `Trace.speech`, whatever the words
    people: str = ""  # file below configs/ of all who ask in its set; empty: whoever there is
    oracle_note: str = ""  # why even the oracle stays below 99 %; empty: it does not
    # Metrics of every resample, (resamples, metrics); None: `measure` is called for each.
    resample: Callable[[Sequence[Observations], Draws], NDArray[np.float64]] | None = None

    def __post_init__(self) -> None:
        if self.headline not in self.meanings:
            raise ValueError(f"suite {self.name}: its headline {self.headline} has no meaning")

    @property
    def set_name(self) -> str:
        """Name of the set of dialogues that it plays."""
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
