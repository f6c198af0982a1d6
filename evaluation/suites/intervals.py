"""Confidence intervals of metrics over dialogues.

Events of one dialogue share a voice, a room and the state of the agent, so intervals come from
resampled dialogues (Davison and Hinkley, "Bootstrap Methods and their Application", 1997). Their
percentiles alone are too narrow for few dialogues, and have no width at 0 and 1. Hence:

- a share keeps only the variance of the resamples. Over that of independent events it gives the
  design effect, and Wilson's interval (1927) is taken for so many fewer events (Kish, "Survey
  Sampling", 1965; Korn and Graubard 1998). A design effect from few dialogues is itself uncertain
  and is drawn towards that of a weak correlation within dialogues.
- a rate per minute does the same with the exact interval of a Poisson count (Garwood 1936).
- seconds and errors keep percentiles, farther out for few dialogues (Hesterberg 2015).

`tests/evaluation/suites/test_intervals.py` simulates their coverage.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.suites.statistics import Estimate

Interval = tuple[float, float]

LEVEL: Final = 0.95
_TAIL: Final = (1 - LEVEL) / 2
_Z: Final = NormalDist().inv_cdf(1 - _TAIL)
_CORRELATION: Final = 0.1  # within dialogues, as long as too few tell
_N_TELLING: Final = 4  # dialogues that weigh as much as that assumption
_MIN_SPREAD: Final = 4  # dialogues below which percentiles say nothing

# Of metrics without an upper limit of 1.
_FREE_SUFFIXES: Final = ("_s", "_error", "_n", "_jsd", "_per_turn")


def confidence_interval(
    metric: str, value: float | None, *, resamples: NDArray[np.float64], sizes: NDArray[np.int64]
) -> Interval | None:
    """The 95 % interval of a metric; None where dialogues are too few to tell.

    `resamples` are its values for resampled dialogues, NaN where nothing was measured; `sizes`
    its events in each dialogue, for a rate 1 where it was measured.
    """
    sizes = sizes[sizes > 0]
    finite = resamples[np.isfinite(resamples)]
    if value is None or len(sizes) < 2 or not len(finite):
        return None
    n_dialogues = len(sizes)
    variance = float(finite.var()) * n_dialogues / (n_dialogues - 1)
    if isinstance(value, Estimate) and value.minutes is not None:
        return _rate_interval(value, value.minutes, variance=variance, n_dialogues=n_dialogues)
    if is_share(metric) and 0 <= value <= 1:
        return _share_interval(value, variance=variance, sizes=sizes)
    return percentiles(finite, n_dialogues)


def is_share(metric: str) -> bool:
    """Whether the name of a metric says that it lies between 0 and 1."""
    return not metric.endswith((*_FREE_SUFFIXES, "_per_min"))


def _share_interval(value: float, *, variance: float, sizes: NDArray[np.int64]) -> Interval:
    n_events = float(sizes.sum())
    alone = value * (1 - value) / n_events  # variance of independent events
    effect = _design_effect(variance / alone if alone > 0 else None, sizes)
    graded = isinstance(value, Estimate) and value.graded
    return _wilson(value, n_events / (effect if graded else max(effect, 1.0)), _quantile(sizes))


def _rate_interval(value: float, minutes: float, *, variance: float, n_dialogues: int) -> Interval:
    """The exact interval of a Poisson count, for as many fewer minutes as events come together."""
    from scipy.special import gammaincinv

    alone = value / minutes
    each = np.ones(n_dialogues, np.int64)
    effect = max(_design_effect(variance / alone if alone > 0 else None, each), 1.0)
    minutes /= effect
    n_events = value * minutes
    low = float(gammaincinv(n_events, _TAIL)) if n_events > 0 else 0.0
    return low / minutes, float(gammaincinv(n_events + 1, 1 - _TAIL)) / minutes


def _design_effect(measured: float | None, sizes: NDArray[np.int64]) -> float:
    """Variance over that of independent events; `measured` is None where it tells nothing."""
    expected = 1 + _CORRELATION * (float((sizes**2).sum() / sizes.sum()) - 1)
    if measured is None:
        return expected
    weight = len(sizes) / (len(sizes) + _N_TELLING)
    return weight * measured + (1 - weight) * expected


def _quantile(sizes: NDArray[np.int64]) -> float:
    """Between those of the normal and of Student's distribution: the variance is half assumed."""
    from scipy.special import stdtrit

    if len(sizes) < _MIN_SPREAD or sizes.max() == 1:
        return _Z
    return (_Z + float(stdtrit(len(sizes) - 1, 1 - _TAIL))) / 2


def _wilson(value: float, n: float, z: float) -> Interval:
    middle = value + z * z / (2 * n)
    half = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return low if value > 0 else 0.0, high if value < 1 else 1.0  # exact at both ends


def percentiles(resamples: NDArray[np.float64], n_dialogues: int) -> Interval | None:
    """Percentiles of resamples, as far out as Student's distribution for so many dialogues."""
    from scipy.special import stdtrit

    finite = resamples[np.isfinite(resamples)]
    if n_dialogues < _MIN_SPREAD or not len(finite):
        return None
    reach = math.sqrt(n_dialogues / (n_dialogues - 1)) * float(stdtrit(n_dialogues - 1, _TAIL))
    tail = NormalDist().cdf(reach)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def difference_interval(
    first: tuple[float, Interval], second: tuple[float, Interval], *, correlation: float
) -> Interval:
    """The interval of `second - first` from those of both (Newcombe 1998, method 10, paired)."""
    (a, (low_a, high_a)), (b, (low_b, high_b)) = first, second
    below = _joint(b - low_b, high_a - a, correlation)
    above = _joint(high_b - b, a - low_a, correlation)
    return max(-1.0, b - a - below), min(1.0, b - a + above)


def _joint(x: float, y: float, correlation: float) -> float:
    return math.sqrt(max(0.0, x * x + y * y - 2 * correlation * x * y))
