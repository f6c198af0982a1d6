"""Parameters are found again in times that were drawn from the law."""

from __future__ import annotations

import math
from statistics import NormalDist, median

import numpy as np
import pytest

from microturn.datagen.dialogue.human_timing import log_normal
from microturn.datagen.dialogue.turn_taking import TurnTaking
from microturn.datagen.fit.law import TimingSample, fit_tempo, fit_timing, fit_width, needed

NORMAL = NormalDist()
GAP = (0.02, 3.0)


@pytest.mark.parametrize(
    ("middle", "sigma", "within"),
    [
        (0.30, 0.73, GAP),
        (0.205, 0.77, (0.02, 0.75)),  # a twentieth would be longer than the bound
        (0.45, 0.69, (0.21, 3.0)),  # a seventh would be shorter than the bound
        (0.80, 0.40, GAP),
    ],
)
def test_the_width_of_a_law_within_bounds_is_found(
    middle: float, sigma: float, within: tuple[float, float]
) -> None:
    rng = np.random.default_rng(3)
    drawn = [log_normal(z, middle, sigma, within) for z in rng.standard_normal(3000)]
    assert median(drawn) == pytest.approx(middle, rel=0.05)
    assert fit_width(drawn, within=within) == pytest.approx(sigma, rel=0.06)


def gaps_of(dialogue: float, speaker: float, *, n: int, seed: int) -> list[list[tuple[int, float]]]:
    """Gaps of `n` dialogues of 4 to 16 changes, with these shares of the variance."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        common, own = rng.standard_normal(), rng.standard_normal(2)
        rest = math.sqrt(1 - dialogue - speaker)
        z = [
            math.sqrt(dialogue) * common
            + math.sqrt(speaker) * own[i % 2]
            + rest * rng.standard_normal()
            for i in range(int(rng.integers(4, 17)))
        ]
        found.append([(i % 2, log_normal(one, 0.3, 0.73, GAP)) for i, one in enumerate(z)])
    return found


@pytest.mark.parametrize(("dialogue", "speaker"), [(0.3, 0.2), (0.1, 0.4), (0.0, 0.0)])
def test_tempo_is_the_variance_that_dialogues_and_speakers_share(
    dialogue: float, speaker: float
) -> None:
    found = fit_tempo(gaps_of(dialogue, speaker, n=1500, seed=4))
    assert found == pytest.approx((dialogue, speaker), abs=0.03)


def test_a_median_of_that_many_values_is_within_the_tolerance_at_95_percent() -> None:
    n = needed(0.73, 0.10)
    assert n == 354
    rng = np.random.default_rng(0)
    medians = np.median(np.exp(0.73 * rng.standard_normal((4000, n))), axis=1)
    off = np.maximum(medians, 1 / medians) - 1
    assert (off <= 0.10).mean() == pytest.approx(0.95, abs=0.012)
    assert needed(0.73, 0.20) < n / 3


def sample(n: int) -> TimingSample:
    """One long dialogue with `n` gaps of 0.3 s, overlaps of 0.2 s and pauses of 0.5 s."""
    rng = np.random.default_rng(1)
    gaps = [round(300 * math.exp(0.5 * z)) for z in rng.standard_normal(n)]
    overlaps = [-round(200 * math.exp(0.5 * z)) for z in rng.standard_normal(n)]
    pauses = [round(500 * math.exp(0.3 * z)) for z in rng.standard_normal(n)]
    made = TimingSample()
    made.add(
        TurnTaking(
            n_samples=1_000_000,
            offsets=gaps + overlaps,
            takers=[i % 2 for i in range(2 * n)],
            pauses=pauses,
            overlap=40_000,
            silence=100_000,
            turns=80,
            backchannels=20,
        ),
        [1.0, 2.0],
    )
    return made


def test_shares_are_those_of_the_data_card() -> None:
    human = fit_timing(sample(600), tolerance=0.1, where="x")
    assert (human.enabled, human.overlapped_changes) == (True, 0.5)
    assert (human.overlap_ratio, human.silence_ratio) == (0.04, 0.1)
    assert human.backchannel_share == 0.2
    assert human.gap_median_s == pytest.approx(0.3, rel=0.1)
    assert human.gap_sigma == pytest.approx(0.5, rel=0.1)


def test_too_little_is_refused_with_what_is_needed() -> None:
    with pytest.raises(ValueError, match=r"^x: too little for medians within 10% at 95%") as error:
        fit_timing(sample(90), tolerance=0.1, where="x")
    assert "90 gaps, and " in str(error.value)
    fit_timing(sample(90), tolerance=0.3, where="x")
    with pytest.raises(ValueError, match=r"0 gaps, and 354 are needed; 0 overlaps, and 394"):
        fit_timing(TimingSample(), tolerance=0.1, where="x")


def test_timing_that_cannot_be_simulated_is_refused() -> None:
    made = sample(600)
    made.pauses = [0.2 + 0.0001 * i for i in range(200)]  # its median is hardly a pause
    with pytest.raises(ValueError, match="no timing that dialogues can be made with: timing.human"):
        fit_timing(made, tolerance=0.1, where="x")
