"""What changed between two sides of a training, and which goals that reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from microturn.evaluation.change.config import ChangeConfig, Limits
from microturn.evaluation.compare import differences
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.suites.intervals import Interval
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import MetricScore, score_suite
from microturn.evaluation.suites.several import over_runs, pooled
from microturn.evaluation.suites.suite import Observations

Run = Mapping[str, Mapping[str, Observations]]  # of one checkpoint, by suite and dialogue


@dataclass(frozen=True, kw_only=True)
class Change:
    """One metric before and after, over all runs of each side, and in each run."""

    suite: str
    metric: str
    before: MetricScore
    after: MetricScore
    difference: float | None
    ci95: Interval | None  # of the difference
    each_before: tuple[float | None, ...]
    each_after: tuple[float | None, ...]
    goals: tuple[TargetCheck, ...]  # of `after`, or of the difference

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "goals": [goal.to_json() for goal in self.goals],
        }


def changes(config: ChangeConfig, before: Sequence[Run], after: Sequence[Run]) -> list[Change]:
    """Measure every row of the table, for users that all checkpoints have talked with."""
    by_suite: dict[str, list[str]] = {}
    for suite, metric in config.rows:
        by_suite.setdefault(suite, []).append(metric)
    found = {
        (suite, one.metric): one
        for suite, metrics in by_suite.items()
        for one in _of_suite(config, suite, metrics, before=before, after=after)
    }
    return [found[row] for row in config.rows]


def _of_suite(
    config: ChangeConfig,
    name: str,
    metrics: Sequence[str],
    *,
    before: Sequence[Run],
    after: Sequence[Run],
) -> Iterator[Change]:
    suite = load_suite(name)
    sides = [[run[name] for run in runs] for runs in (before, after)]
    first, second = (pooled(runs) for runs in sides)
    many = over_runs(suite)
    scores = [score_suite(many, list(one.values()), seed=config.seed) for one in (first, second)]
    found = {
        one.metric: one
        for one in differences(many, first, second, seed=config.seed, n=config.resamples)
    }
    alone = [[suite.measure(list(run.values())) for run in runs] for runs in sides]
    for metric in metrics:
        change = Change(
            suite=name,
            metric=metric,
            before=scores[0].metrics[metric],
            after=scores[1].metrics[metric],
            difference=found[metric].difference,
            ci95=found[metric].ci95,
            each_before=tuple(_number(one[metric]) for one in alone[0]),
            each_after=tuple(_number(one[metric]) for one in alone[1]),
            goals=(),
        )
        yield replace(change, goals=tuple(_goals(config, change)))


def _goals(config: ChangeConfig, change: Change) -> Iterator[TargetCheck]:
    """Compare a metric with its limits; a fall and a rise are limits of the difference."""

    def checks(limits: Limits, *, at_least: bool, of_change: bool = False) -> Iterator[TargetCheck]:
        limit = limits.get(change.suite, {}).get(change.metric)
        if limit is None:
            return
        yield TargetCheck(
            suite=change.suite,
            metric=change.metric,
            limit=-limit if of_change and at_least else limit,
            at_least=at_least,
            value=change.difference if of_change else change.after.value,
            ci95=change.ci95 if of_change else change.after.ci95,
        )

    yield from checks(config.targets.at_least, at_least=True)
    yield from checks(config.targets.at_most, at_least=False)
    yield from checks(config.may_fall, at_least=True, of_change=True)
    yield from checks(config.may_rise, at_least=False, of_change=True)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
