"""Numbers of suites: each metric over all dialogues, and how sure it is.

Intervals are 95 % bootstrap intervals over dialogues: events of one dialogue share a voice, a room
and the state of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from microturn.evaluation.suites.event_metrics import resamples
from microturn.evaluation.suites.suite import Measured, Observations, Suite

N_RESAMPLES: Final = 1000
MIN_DIALOGUES: Final = 4  # fewer say nothing about others


@dataclass(frozen=True, kw_only=True)
class SuiteScore:
    """One agent on one suite."""

    suite: Suite
    keys: tuple[str, ...]  # of the dialogues
    facts: tuple[Observations, ...]  # by dialogue
    values: Measured
    intervals: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)

    @property
    def headline(self) -> float | None:
        return self.values[self.suite.headline]

    def to_json(self) -> dict[str, Any]:
        """`suites.NAME` of scores.json; `n` counts dialogues."""
        suite, n = self.suite, len(self.facts)
        interval = self.intervals.get(suite.headline)
        return {
            "headline": self.headline,
            "n": n,
            "ci95": list(interval) if interval else None,
            "headline_metric": suite.headline,
            "asks": suite.asks,
            "note": suite.title_note,
            "oracle_note": suite.oracle_note,
            "meanings": dict(suite.meanings),
            "metrics": dict(self.values),
            "details": {
                name: {"value": value, "n": n, "ci95": _listed(self.intervals.get(name))}
                for name, value in self.values.items()
            },
        }


def score_suite(
    suite: Suite, facts: Sequence[Observations], keys: Sequence[str], *, seed: int
) -> SuiteScore:
    """Every metric of a suite, with intervals where there are dialogues enough."""
    values = suite.check(suite.measure(facts))
    intervals: dict[str, tuple[float, float] | None] = {}
    if len(facts) >= MIN_DIALOGUES:
        rows = resampled(suite, facts, resamples(len(facts), seed)[:N_RESAMPLES])
        for column, name in enumerate(suite.meanings):
            intervals[name] = interval(rows[:, column])
    return SuiteScore(
        suite=suite, keys=tuple(keys), facts=tuple(facts), values=values, intervals=intervals
    )


def resampled(
    suite: Suite, facts: Sequence[Observations], draws: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Metrics of every resample, (resamples, metrics); not a number where nothing was measured."""
    rows = []
    for draw in draws:
        measured = suite.measure([facts[i] for i in draw])
        rows.append([_number(measured.get(name)) for name in suite.meanings])
    return np.array(rows, np.float64).reshape(len(draws), len(suite.meanings))


def interval(values: np.ndarray[Any, Any]) -> tuple[float, float] | None:
    """The middle 95 % of what was measured."""
    kept = values[np.isfinite(values)]
    if not len(kept):
        return None
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _listed(edges: tuple[float, float] | None) -> list[float] | None:
    return list(edges) if edges else None
