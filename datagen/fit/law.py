"""The parameters of `timing.human` from measured dialogues.

Medians and shares are those of the data card. Widths are the ones with which the law of
`dialogue/human_timing.py`, squeezed into its bounds, comes nearest to the quantiles that were
measured. Tempos are components of variance by moments: the mean product of two standardised gaps
of one dialogue, of different speakers (what the dialogue has in common) or of the same (that, and
what the speaker adds).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import NormalDist, median
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar

from microturn.datagen.config import HumanTimingConfig
from microturn.datagen.dialogue.human_timing import MIN_CHANGE_S, MIN_PAUSE_MARGIN_S, log_normal
from microturn.datagen.dialogue.turn_taking import TurnTaking
from microturn.datagen.report.timing_tally import TimingTally

NORMAL: Final = NormalDist()
LEVELS: Final = (0.1, 0.2, 0.3, 0.7, 0.8, 0.9)  # quantiles that a width is fitted to
WIDTHS: Final = (0.05, 3.0)
SURE: Final = 0.95
MEDIAN_LOSS: Final = math.sqrt(math.pi / 2)  # standard error of a median, re that of a mean
DIGITS: Final = 4
LARGEST_TEMPO: Final = 0.95  # of both together


@dataclass(kw_only=True)
class TimingSample:
    """What was measured in dialogues, in seconds."""

    rate: int = 1000  # samples per second of the measurements: milliseconds
    tally: TimingTally = field(default_factory=TimingTally)
    gaps: list[list[tuple[int, float]]] = field(default_factory=list)  # by dialogue: speaker, gap
    overlaps: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    units: list[float] = field(default_factory=list)  # lengths of inter-pausal units
    dialogues: int = 0

    def add(self, taking: TurnTaking, units: Iterable[float]) -> None:
        """Add a dialogue: how its speakers take turns, and the lengths of their units."""
        self.tally.add(taking, self.rate)
        offsets = [
            (taker, offset / self.rate)
            for taker, offset in zip(taking.takers, taking.offsets, strict=True)
        ]
        self.gaps.append([(taker, seconds) for taker, seconds in offsets if seconds > 0])
        self.overlaps += [-seconds for _, seconds in offsets if seconds <= 0]
        self.pauses += [pause / self.rate for pause in taking.pauses]
        self.units += units
        self.dialogues += 1

    @property
    def all_gaps(self) -> list[float]:
        return [seconds for gaps in self.gaps for _, seconds in gaps]

    def summary(self) -> dict[str, Any]:
        """Measures of the card, lengths of units, and how much there is of everything."""
        return {
            "dialogues": self.dialogues,
            "minutes": round(self.tally.sums["seconds"] / 60, 2),
            "gaps": len(self.all_gaps),
            "overlaps": len(self.overlaps),
            "pauses": len(self.pauses),
            "backchannels": int(self.tally.sums["backchannels"]),
            "measures": {
                **self.tally.measures(),
                "unit_median_s": round(median(self.units), DIGITS) if self.units else None,
                "unit_mean_s": round(float(np.mean(self.units)), DIGITS) if self.units else None,
            },
        }


def needed(sigma: float, tolerance: float) -> int:
    """Values of a log-normal law of this width for a median within a tolerance, at 95 %."""
    z = NORMAL.inv_cdf(0.5 + SURE / 2)
    return math.ceil((z * MEDIAN_LOSS * sigma / math.log1p(tolerance)) ** 2)


def fit_timing(sample: TimingSample, *, tolerance: float, where: str) -> HumanTimingConfig:
    """The law of dialogues; raises ValueError beginning with `where` if there are too few."""
    base = HumanTimingConfig()
    bounds = {
        "gap": (MIN_CHANGE_S, base.longest_gap_s),
        "overlap": (MIN_CHANGE_S, base.longest_overlap_s),
        "pause": (base.min_pause_s + MIN_PAUSE_MARGIN_S, base.longest_gap_s),
    }
    values = {"gap": sample.all_gaps, "overlap": sample.overlaps, "pause": sample.pauses}
    fitted: dict[str, float] = {}
    lacking = []
    for name, seconds in values.items():
        if len(seconds) > 1:
            fitted[f"{name}_median_s"] = median(seconds)
            fitted[f"{name}_sigma"] = fit_width(seconds, within=bounds[name])
        sigma = fitted.get(f"{name}_sigma", getattr(base, f"{name}_sigma"))
        if len(seconds) < (wanted := needed(sigma, tolerance)):
            lacking.append(f"{len(seconds)} {name}s, and {wanted} are needed")
    if lacking:
        raise ValueError(
            f"{where}: too little for medians within {tolerance:.0%} at {SURE:.0%} "
            f"({'; '.join(lacking)}); give more dialogues or a larger tolerance="
        )
    measures = sample.tally.measures()
    for name in ("overlapped_changes", "backchannel_share", "overlap_ratio", "silence_ratio"):
        fitted[name] = measures[name] or 0.0
    fitted["dialogue_tempo"], fitted["speaker_tempo"] = fit_tempo(sample.gaps)
    try:
        return HumanTimingConfig(
            enabled=True, **{name: round(value, DIGITS) for name, value in fitted.items()}
        )
    except ValueError as error:
        raise ValueError(f"{where}: no timing that dialogues can be made with: {error}") from error


def fit_width(seconds: Sequence[float], *, within: tuple[float, float]) -> float:
    """The width of the log-normal law within bounds whose quantiles are nearest, in logarithms."""
    low, high = within
    inside = np.clip(np.asarray(seconds), low, high)
    middle = float(np.clip(median(seconds), low * 1.001, high * 0.999))
    measured = np.log(np.quantile(inside, LEVELS))

    def misfit(sigma: float) -> float:
        law = [log_normal(NORMAL.inv_cdf(u), middle, sigma, within) for u in LEVELS]
        return float(np.square(np.log(law) - measured).sum())

    return float(minimize_scalar(misfit, bounds=WIDTHS, method="bounded").x)


def fit_tempo(dialogues: Sequence[Sequence[tuple[int, float]]]) -> tuple[float, float]:
    """Shares of the variance of gaps that dialogues and their speakers have of their own.

    A gap counts by its rank among all, as a standard normal. Every dialogue weighs as much as it
    has gaps. Shares below 0 are 0.
    """
    ordered = sorted(seconds for gaps in dialogues for _, seconds in gaps)
    n = len(ordered)
    places = np.searchsorted(ordered, ordered, side="left") + np.searchsorted(
        ordered, ordered, side="right"
    )
    scores = {
        seconds: NORMAL.inv_cdf(place / 2 / n)
        for seconds, place in zip(ordered, places.tolist(), strict=True)
    }
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}  # products and weights, by same speaker or not
    for gaps in dialogues:
        for (first, a), (second, b) in combinations(gaps, 2):
            weight = 2.0 / (len(gaps) - 1)
            sums[first == second][0] += weight * scores[a] * scores[b]
            sums[first == second][1] += weight
    common, same = (sums[key][0] / sums[key][1] if sums[key][1] else 0.0 for key in (False, True))
    dialogue = min(max(common, 0.0), LARGEST_TEMPO)
    speaker = min(max(same - dialogue, 0.0), LARGEST_TEMPO - dialogue)
    return dialogue, speaker
