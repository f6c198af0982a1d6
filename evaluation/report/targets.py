"""Numbers to reach, and which of them a run has missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from microturn.evaluation.config import TargetConfig
from microturn.evaluation.suites.event_metrics import METRICS, Metrics


@dataclass(frozen=True, kw_only=True)
class TargetCheck:
    """One number beside its limit."""

    suite: str
    metric: str
    limit: float
    at_least: bool
    value: float | None

    @property
    def met(self) -> bool:
        """Whether the number is there and on the right side."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        value = "not measured" if self.value is None else f"{self.value:.3f}"
        return f"{self.suite}.{self.metric}: {value}, target {sign} {self.limit:g}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def check(targets: TargetConfig, metrics: Metrics) -> list[TargetCheck]:
    """Compare measured metrics with the targets."""
    return [
        TargetCheck(
            suite=suite,
            metric=metric,
            limit=limit,
            at_least=at_least,
            value=metrics[suite][metric].value,
        )
        for suite, metric, limit, at_least in _entries(targets)
    ]


def check_names(targets: TargetConfig) -> None:
    """Raise ValueError for a target on a suite or metric that does not exist."""
    for suite, metric, _, at_least in _entries(targets):
        key = f"targets.{'at_least' if at_least else 'at_most'}.{suite}"
        if suite not in METRICS:
            raise ValueError(f"{key}: no such suite; there are {', '.join(METRICS)}")
        if metric not in METRICS[suite]:
            raise ValueError(f"{key}.{metric}: no such metric; {suite} has {_join(suite)}")


def _entries(targets: TargetConfig) -> Iterator[tuple[str, str, float, bool]]:
    for at_least, limits in ((True, targets.at_least), (False, targets.at_most)):
        for suite, metrics in limits.items():
            for metric, limit in metrics.items():
                yield suite, metric, limit, at_least


def _join(suite: str) -> str:
    return ", ".join(METRICS[suite])
