"""Values to reach, and which of them a run missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from microturn.evaluation.config import TargetConfig
from microturn.evaluation.suites.intervals import Interval
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import SuiteScore


@dataclass(frozen=True, kw_only=True)
class TargetCheck:
    """One metric beside its limit: reached, missed, or too near to tell."""

    suite: str
    metric: str
    limit: float
    at_least: bool
    value: float | None
    ci95: Interval | None = None

    @property
    def met(self) -> bool:
        """Whether the metric was measured and is on the right side of the limit."""
        return self.value is not None and self._reaches(self.value)

    @property
    def missed(self) -> bool:
        """Whether all of the interval is on the wrong side: chance alone does not explain it."""
        if self.value is None:
            return True
        low, high = self.ci95 or (self.value, self.value)
        return not self._reaches(max(high, self.value) if self.at_least else min(low, self.value))

    def _reaches(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        value = "not measured" if self.value is None else f"{self.value:.3f}"
        if self.value is not None and self.ci95:
            value += " [{:.3f} to {:.3f}]".format(*self.ci95)
        return f"{self.suite}.{self.metric}: {value}, target {sign} {self.limit:g}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met, "missed": self.missed}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> TargetCheck:
        fields = {name: value for name, value in entry.items() if name not in ("met", "missed")}
        low_high = fields.get("ci95")
        return cls(**{**fields, "ci95": None if low_high is None else tuple(low_high)})


def check_targets(targets: TargetConfig, suites: Mapping[str, SuiteScore]) -> list[TargetCheck]:
    """Compare scores with the targets; every suite that a target names must be among them."""
    return [
        TargetCheck(
            suite=suite,
            metric=metric,
            limit=limit,
            at_least=at_least,
            value=suites[suite].metrics[metric].value,
            ci95=suites[suite].metrics[metric].ci95,
        )
        for suite, metric, limit, at_least in _entries(targets)
    ]


def suites_with_targets(targets: TargetConfig) -> list[str]:
    return list(dict.fromkeys(suite for suite, *_ in _entries(targets)))


def check_names(targets: TargetConfig, known: tuple[str, ...]) -> None:
    """Raise ValueError for a target on a suite that is not `known` or has no such metric."""
    for suite, metric, _, at_least in _entries(targets):
        key = f"targets.{'at_least' if at_least else 'at_most'}.{suite}"
        if suite not in known:
            raise ValueError(f"{key}: no such suite; there are {', '.join(known)}")
        metrics = load_suite(suite).meanings
        if metric not in metrics:
            raise ValueError(f"{key}.{metric}: no such metric; {suite} has {', '.join(metrics)}")


def _entries(targets: TargetConfig) -> Iterator[tuple[str, str, float, bool]]:
    for at_least, limits in ((True, targets.at_least), (False, targets.at_most)):
        for suite, metrics in limits.items():
            for metric, limit in metrics.items():
                yield suite, metric, limit, at_least
