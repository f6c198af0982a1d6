"""Scores of a suite: each metric over all dialogues, and its confidence interval.

`intervals.py` says where the intervals come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.suites.intervals import Interval, confidence_interval
from microturn.evaluation.suites.statistics import Estimate
from microturn.evaluation.suites.suite import Draws, Measured, Observations, Suite

N_RESAMPLES: Final = 1000


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """One metric of an agent."""

    value: float | None  # None: nothing was measured
    ci95: Interval | None
    n: int  # events behind it
    n_dialogues: int
    by_seed: tuple[float | None, ...] = ()  # the same in each set, where there are several

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "by_seed" or value}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> MetricScore:
        low_high = entry["ci95"]
        read = {"ci95": low_high and tuple(low_high), "by_seed": tuple(entry.get("by_seed", ()))}
        return cls(**{**entry, **read})


@dataclass(frozen=True, kw_only=True)
class SuiteScore:
    """One suite of an agent."""

    name: str
    set_name: str
    asks: str
    note: str
    oracle_note: str
    is_twin: bool  # in a closed domain; else open speech
    headline_metric: str
    floor: float  # the line below which the adversarial panel stays
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
            "floor": self.floor,
            "set": self.set_name,
            "asks": self.asks,
            "note": self.note,
            "oracle_note": self.oracle_note,
            "is_twin": self.is_twin,
            "meanings": dict(self.meanings),
            "metrics": {name: metric.value for name, metric in self.metrics.items()},
            "details": {name: metric.to_json() for name, metric in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any]) -> SuiteScore:
        return cls(
            name=name,
            set_name=entry["set"],
            asks=entry["asks"],
            note=entry["note"],
            oracle_note=entry["oracle_note"],
            is_twin=entry.get("is_twin", True),
            headline_metric=entry["headline_metric"],
            floor=entry["floor"],
            meanings=entry["meanings"],
            metrics={
                metric: MetricScore.from_json(detail) for metric, detail in entry["details"].items()
            },
        )


def score_suite(suite: Suite, dialogues: Sequence[Observations], *, seed: int) -> SuiteScore:
    """Every metric of a suite, with intervals where there are enough dialogues."""
    values = suite.check(suite.measure(dialogues))
    draws = draw_dialogues(len(dialogues), N_RESAMPLES, seed=seed)
    scores = with_intervals(
        suite, dialogues, values=values, resamples=resampled(suite, dialogues, draws)
    )
    return SuiteScore(
        name=suite.name,
        set_name=suite.set_name,
        asks=suite.asks,
        note=suite.title_note,
        oracle_note=suite.oracle_note,
        is_twin=suite.is_twin,
        headline_metric=suite.headline,
        floor=suite.floor,
        meanings=suite.meanings,
        metrics=scores,
    )


def with_seeds(
    score: SuiteScore, suite: Suite, sets: Sequence[Sequence[Observations]]
) -> SuiteScore:
    """`score` of all `sets` together, with every metric of each of them."""
    measured = [suite.check(suite.measure(dialogues)) for dialogues in sets]
    values = {name: tuple(_plain(one[name]) for one in measured) for name in score.metrics}
    metrics = {name: replace(one, by_seed=values[name]) for name, one in score.metrics.items()}
    return replace(score, metrics=metrics)


def _plain(value: float | None) -> float | None:
    return None if value is None else float(value)


def with_intervals(
    suite: Suite,
    dialogues: Sequence[Observations],
    *,
    values: Measured,
    resamples: NDArray[np.float64],
) -> dict[str, MetricScore]:
    """Measured values with their intervals; `resamples` are (resamples, metrics)."""
    n_dialogues = len(dialogues)
    alone = [suite.measure([dialogue]) for dialogue in dialogues]
    scores = {}
    for column, (name, value) in enumerate(values.items()):
        sizes = _sizes(value, [one.get(name) for one in alone])
        scores[name] = MetricScore(
            value=_plain(value),
            ci95=confidence_interval(name, value, resamples=resamples[:, column], sizes=sizes),
            n=_n_events(value),
            n_dialogues=n_dialogues,
        )
    return scores


def _n_events(value: float | None) -> int:
    """Events behind a value; a number that a suite computes in its own way stands for one."""
    if value is None:
        return 0
    return value.n_events if isinstance(value, Estimate) else 1


def _sizes(value: float | None, alone: Sequence[float | None]) -> NDArray[np.int64]:
    """Events of each dialogue, or 1 for the time in which a rate counts them.

    Even numbers for a metric that most dialogues do not have alone, as one that tells classes
    apart.
    """
    if isinstance(value, Estimate) and value.minutes is not None:
        return np.array([one is not None for one in alone], np.int64)
    sizes = np.array([_n_events(one) for one in alone], np.int64)
    n, n_dialogues = _n_events(value), len(alone)
    if sizes.sum() * 2 >= n:
        return sizes
    return np.array([n // n_dialogues + (i < n % n_dialogues) for i in range(n_dialogues)])


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


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
