"""Metrics of a suite of events: shares and medians of what single events contribute.

An observation of one dialogue is the list of its contributions. Intervals resample dialogues, not
events: two events of one dialogue share a voice and a room. A metric without events is None, never
a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.scoring.contributions import (
    TWO_SIDED,
    MetricContribution,
    contributions_of,
)
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import Outcome
from microturn.evaluation.scoring.restraint import CREDIT
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.credit import (
    FALSE_DELEGATES,
    SOUNDS,
    UNASKED,
    told_apart,
)
from microturn.evaluation.suites.statistics import Estimate, mean, median
from microturn.evaluation.suites.suite import Draws, Measured, Observations

MEAN_HEADLINE: Final = "mean_headline"
# Metrics that stand beside every headline, and where they are counted.
SHARED: Final = {
    UNASKED: ("overall", "spurious_onsets_per_min"),
    FALSE_DELEGATES: ("overall", "false_delegates_per_min"),
    SOUNDS: ("overall", SOUNDS),
}
_Name = tuple[str, str]  # suite and metric
_PerDialogue = list[list[MetricContribution]]
_TWO_SIDED: Final = frozenset((suite, CREDIT) for suite in TWO_SIDED)


@dataclass(frozen=True, kw_only=True)
class EventMetrics:
    """The functions of one suite of events."""

    suite: str
    metrics: tuple[str, ...]
    # Headline metric by suite, for the one suite whose `mean_headline` is the mean of these.
    headlines: Mapping[str, str] = field(default_factory=dict)

    def observe(self, scored: ScoredDialogue) -> Observations:
        return self.observation(score(scored))

    def observation(self, outcomes: Iterable[Outcome]) -> Observations:
        """Return the contributions of a dialogue's outcomes that this suite needs."""
        names = set(self._names())
        contributions = [one for outcome in outcomes for one in contributions_of(outcome)]
        for one in contributions:
            if one.suite == self.suite and one.metric not in self.metrics:
                raise ValueError(
                    f"suite {self.suite!r} has no metric {one.metric!r}, only "
                    f"{', '.join(self.metrics)}; give it a meaning in "
                    "evaluation/suites/event_suites.py"
                )
        kept = [asdict(one) for one in contributions if (one.suite, one.metric) in names]
        return {"contributions": kept}

    def measure(self, dialogues: Sequence[Observations]) -> Measured:
        by_name = self._by_name(dialogues)
        values = {name: _value(name, per_dialogue) for name, per_dialogue in by_name.items()}
        measured: Measured = {metric: values.get(self._name(metric)) for metric in self.metrics}
        if self.headlines:
            heads = [values[name] for name in self.headlines.items()]
            measured[MEAN_HEADLINE] = mean([value for value in heads if value is not None])
        return measured

    def resample(self, dialogues: Sequence[Observations], draws: Draws) -> NDArray[np.float64]:
        """Metrics of every resample, (resamples, metrics); NaN where a resample has no event."""
        by_name = self._by_name(dialogues)
        columns = [
            self._mean_headline(by_name, draws)
            if self.headlines and metric == MEAN_HEADLINE
            else _resampled(self._name(metric), by_name[self._name(metric)], draws)
            for metric in self.metrics
        ]
        return np.stack(columns, axis=1)

    def _mean_headline(
        self, by_name: Mapping[_Name, _PerDialogue], draws: Draws
    ) -> NDArray[np.float64]:
        """Mean over the suites that have events, every suite with the same weight."""
        known = [name for name in self.headlines.items() if _value(name, by_name[name]) is not None]
        if not known:
            return np.full(len(draws), np.nan)
        columns = [_resampled(name, by_name[name], draws) for name in known]
        mean: NDArray[np.float64] = np.mean(columns, axis=0)
        return mean

    def _names(self) -> list[_Name]:
        own = [self._name(metric) for metric in self.metrics]
        return [*own, *self.headlines.items()]

    def _name(self, metric: str) -> _Name:
        return SHARED.get(metric, (self.suite, metric))

    def _by_name(self, dialogues: Sequence[Observations]) -> dict[_Name, _PerDialogue]:
        by_name: dict[_Name, _PerDialogue] = {
            name: [[] for _ in dialogues] for name in self._names()
        }
        for i, dialogue in enumerate(dialogues):
            for entry in dialogue["contributions"]:
                one = MetricContribution(**entry)
                by_name[one.suite, one.metric][i].append(one)
        return by_name


def _value(name: _Name, per_dialogue: _PerDialogue) -> Estimate | None:
    flat = [one for ones in per_dialogue for one in ones]
    if not flat:
        return None
    if flat[0].median:
        return median([one.value for one in flat])
    if name in _TWO_SIDED:
        sides = ([one for one in flat if one.side == side] for side in (0, 1))
        return told_apart(*(_share(name, side) for side in sides))
    return _share(name, flat)


def _share(name: _Name, contributions: Sequence[MetricContribution]) -> Estimate | None:
    weight = sum(one.weight for one in contributions)
    if not weight:
        return None
    value, n_events = sum(one.value for one in contributions), sum(one.n for one in contributions)
    minutes = weight if name[1].endswith("_per_min") else None
    return Estimate(value / weight, n_events=n_events, minutes=minutes)


def _resampled(name: _Name, per_dialogue: _PerDialogue, draws: Draws) -> NDArray[np.float64]:
    """The metric of every resample; NaN where a resample holds no event."""
    first = next((one for ones in per_dialogue for one in ones), None)
    if first is None:
        return np.full(len(draws), np.nan)
    if first.median:
        return _medians(per_dialogue, draws)
    if name in _TWO_SIDED:
        sides = [[[o for o in ones if o.side == side] for ones in per_dialogue] for side in (0, 1)]
        first_side, second_side = (_shares(one, draws) for one in sides)
        apart: NDArray[np.float64] = np.maximum(first_side + second_side - 1.0, 0.0)
        return apart
    return _shares(per_dialogue, draws)


def _shares(per_dialogue: _PerDialogue, draws: Draws) -> NDArray[np.float64]:
    values = np.array([sum(one.value for one in ones) for ones in per_dialogue], float)
    weights = np.array([sum(one.weight for one in ones) for ones in per_dialogue], float)
    total = weights[draws].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: NDArray[np.float64] = values[draws].sum(axis=1) / total
    return shares


def _medians(per_dialogue: _PerDialogue, draws: Draws) -> NDArray[np.float64]:
    values = [[one.value for one in ones] for ones in per_dialogue]
    medians = []
    for draw in draws:
        drawn = [value for i in draw for value in values[i]]
        medians.append(float(np.median(drawn)) if drawn else float("nan"))
    return np.array(medians)
