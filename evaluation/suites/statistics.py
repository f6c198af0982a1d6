"""The statistics of suites: values that know how many events they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence


class Estimate(float):
    """A metric's value and the events behind it.

    `minutes`: the time in which the events of a rate are counted. `graded`: an event counts more
    or less than all or nothing, or groups of events count alike.
    """

    n_events: int
    minutes: float | None
    graded: bool

    def __new__(
        cls, value: float, *, n_events: int, minutes: float | None = None, graded: bool = False
    ) -> Estimate:
        estimate = super().__new__(cls, value)
        estimate.n_events, estimate.minutes, estimate.graded = n_events, minutes, graded
        return estimate


def ratio(part: float, whole: float) -> Estimate | None:
    """`part` of `whole` events; None for an empty whole."""
    return Estimate(part / whole, n_events=round(whole)) if whole else None


def graded(value: float | None, n_events: int) -> Estimate | None:
    """A score of `n_events` that is no share of them; None for no score."""
    return None if value is None else Estimate(value, n_events=n_events, graded=True)


def share(hits: Sequence[bool]) -> Estimate | None:
    """Share of true values; None for no values."""
    return ratio(sum(hits), len(hits))


def mean(values: Sequence[float]) -> Estimate | None:
    """Arithmetic mean; None for no values. The mean of estimates stands for all their events."""
    if not values:
        return None
    n_events = sum(one.n_events if isinstance(one, Estimate) else 1 for one in values)
    return Estimate(math.fsum(values) / len(values), n_events=n_events, graded=True)


def median(values: Sequence[float]) -> Estimate | None:
    """Median, the mean of the two middle values of an even number; None for no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return Estimate((low + high) / 2, n_events=len(ordered))


def per_minute(n_events: int, minutes: float) -> Estimate | None:
    """Events per minute; None for no time."""
    return Estimate(n_events / minutes, n_events=n_events, minutes=minutes) if minutes else None
