"""Scores of a suite: each metric over all dialogues, and its confidence interval.

Intervals are 95 % bootstrap intervals over dialogues: events of one dialogue share a voice, a room
and the state of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.suites.suite import Draws, Observations, Suite

N_RESAMPLES: Final = 1000
MIN_DIALOGUES: Final = 4  # fewer say nothing about others

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """One metric of an agent."""

    value: float | None  # None: nothing was measured
    ci95: Interval | None
    n: int  # events behind it, or dialogues where the suite counts no events
    n_dialogues: int

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> MetricScore:
        low_high = entry["ci95"]
        return cls(**{**entry, "ci95": None if low_high is None else tuple(low_high)})


@dataclass(frozen=True, kw_only=True)
class SuiteScore:
    """One suite of an agent."""

    name: str
    set_name: str
    asks: str
    note: str
    oracle_note: str
    headline_metric: str
    meanings: Mapping[str, str]  # by metric
    metrics: Mapping[str, MetricScore]

    @property
    def headline(self) -> MetricScore:
        return self.metrics[self.headline_metric]

    @property
    def has_events(self) -> bool:
        return any(metric.n for metric in self.metrics.values())

    def to_json(self) -> dict[str, Any]:
        """`suites.NAME` of scores.json."""
        head = self.headline
        return {
            "headline": head.value,
            "n": head.n,
            "n_dialogues": head.n_dialogues,
            "ci95": head.ci95,
            "headline_metric": self.headline_metric,
            "set": self.set_name,
            "asks": self.asks,
            "note": self.note,
            "oracle_note": self.oracle_note,
            "meanings": dict(self.meanings),
            "metrics": {name: metric.value for name, metric in self.metrics.items()},
            "details": {name: asdict(metric) for name, metric in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any]) -> SuiteScore:
        return cls(
            name=name,
            set_name=entry["set"],
            asks=entry["asks"],
            note=entry["note"],
            oracle_note=entry["oracle_note"],
            headline_metric=entry["headline_metric"],
            meanings=entry["meanings"],
            metrics={
                metric: MetricScore.from_json(detail) for metric, detail in entry["details"].items()
            },
        )


def score_suite(suite: Suite, dialogues: Sequence[Observations], *, seed: int) -> SuiteScore:
    """Every metric of a suite, with intervals where there are enough dialogues."""
    n_dialogues = len(dialogues)
    values = suite.check(suite.measure(dialogues))
    counts = suite.count_events(dialogues) if suite.count_events else {}
    rows = None
    if n_dialogues >= MIN_DIALOGUES:
        rows = resampled(suite, dialogues, draw_dialogues(n_dialogues, N_RESAMPLES, seed=seed))
    return SuiteScore(
        name=suite.name,
        set_name=suite.set_name,
        asks=suite.asks,
        note=suite.title_note,
        oracle_note=suite.oracle_note,
        headline_metric=suite.headline,
        meanings=suite.meanings,
        metrics={
            name: MetricScore(
                value=value,
                ci95=None if rows is None else interval(rows[:, column]),
                n=counts.get(name, n_dialogues),
                n_dialogues=n_dialogues,
            )
            for column, (name, value) in enumerate(values.items())
        },
    )


def draw_dialogues(n_dialogues: int, n_resamples: int, *, seed: int) -> Draws:
    """Indices of resampled dialogues, (n_resamples, n_dialogues)."""
    rng = np.random.default_rng([seed, n_dialogues])
    return rng.integers(0, max(n_dialogues, 1), (n_resamples, n_dialogues))


def resampled(suite: Suite, dialogues: Sequence[Observations], draws: Draws) -> NDArray[np.float64]:
    """Metrics of every resample, (resamples, metrics); NaN where nothing was measured."""
    if suite.resample is not None:
        return suite.resample(dialogues, draws)
    rows = []
    for draw in draws:
        measured = suite.measure([dialogues[i] for i in draw])
        rows.append([_number(measured.get(name)) for name in suite.meanings])
    return np.array(rows, np.float64).reshape(len(draws), len(suite.meanings))


def interval(values: NDArray[np.float64]) -> Interval | None:
    """The middle 95 % of the finite values."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
