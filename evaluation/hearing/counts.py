"""Word errors with intervals over what belongs together: people, or dialogues.

C clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.scoring.events import word_errors
from microturn.evaluation.speech.recogniser import sound_of
from microturn.evaluation.suites.intervals import (
    LEVEL,
    Interval,
    confidence_interval,
    percentiles,
)
from microturn.evaluation.suites.score_suite import N_RESAMPLES, draw_dialogues
from microturn.evaluation.suites.statistics import graded

_METRIC = "word_error_rate"


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """Errors per word that was said; None where nothing was said or nobody was asked."""

    value: float | None
    ci95: Interval | None  # over clusters; None: too few of them
    n_errors: int
    n_words: int
    n_clusters: int  # with a word

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """The rate in per cent, with its interval."""
        if self.value is None:
            return "-"
        low_high = (
            ""
            if self.ci95 is None
            else " [{:.0f} to {:.0f}]".format(*(100 * edge for edge in self.ci95))
        )
        return f"{100 * self.value:.1f} %{low_high}"


def errors_between(words: Sequence[str], said: Sequence[str]) -> int:
    """Count substitutions, insertions and deletions; words that sound alike are the same."""
    return word_errors([sound_of(word) for word in words], [sound_of(word) for word in said])


def error_rate(counts: Sequence[tuple[int, int]], *, seed: int) -> ErrorRate:
    """Return the rate of all clusters, given as errors and words of each."""
    table = np.array(counts, np.int64).reshape(-1, 2)
    table = table[table[:, 1] > 0]
    n_errors, n_words = (int(total) for total in table.sum(axis=0))
    value = graded(n_errors / n_words if n_words else None, n_words)
    return ErrorRate(
        value=None if value is None else float(value),
        ci95=confidence_interval(
            _METRIC, value, resamples=_rates(table, seed=seed), sizes=table[:, 1]
        ),
        n_errors=n_errors,
        n_words=n_words,
        n_clusters=len(table),
    )


def ratio_of_rates(
    first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]], *, seed: int
) -> tuple[float | None, Interval | None]:
    """Return the rate of the first over that of the second, of the same clusters in order.

    None where the second has no error; no interval where so few errors tell no upper edge.
    """
    one, other = (np.array(counts, np.int64).reshape(-1, 2) for counts in (first, second))
    (e, n), (f, m) = one.sum(axis=0), other.sum(axis=0)
    if not n or not f:
        return None, None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _rates(one, seed=seed) / _rates(other, seed=seed)
    is_known = np.isfinite(ratios).mean() >= LEVEL
    return float(e / n / (f / m)), percentiles(ratios, len(one)) if is_known else None


def _rates(table: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """Return the rate of each resample of the clusters of a table (C, 2); NaN without a word."""
    totals = table[draw_dialogues(len(table), N_RESAMPLES, seed=seed)].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates: NDArray[np.float64] = totals[:, 0] / totals[:, 1]
    return rates
