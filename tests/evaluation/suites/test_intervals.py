"""Intervals cover the true value as often as they say, for few events and near 0 and 1."""

from dataclasses import replace

import numpy as np
import pytest

from microturn.evaluation.suites.intervals import confidence_interval, difference_interval
from microturn.evaluation.suites.score_suite import score_suite
from microturn.evaluation.suites.statistics import Estimate, mean, per_minute, ratio, share
from microturn.evaluation.suites.suite import Observations, Suite

SHARES = (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98)


def events_per_dialogue(rng: np.random.Generator, n_events: int, mean_size: float) -> np.ndarray:
    sizes: list[int] = []
    while sum(sizes) < n_events:
        sizes.append(min(1 + rng.poisson(mean_size - 1), n_events - sum(sizes)))
    return np.array(sizes)


def share_is_covered(
    rng: np.random.Generator, p: float, *, n: int, mean_size: float, correlation: float
) -> bool:
    """One experiment: events of a dialogue share a chance of success when they correlate."""
    sizes = events_per_dialogue(rng, n, mean_size)
    chance: np.ndarray | float = p
    if correlation:
        strength = (1 - correlation) / correlation
        chance = rng.beta(p * strength, (1 - p) * strength, len(sizes))
    hits = rng.binomial(sizes, chance)
    draws = rng.integers(0, len(sizes), (200, len(sizes)))
    resamples = hits[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    value = Estimate(hits.sum() / n, n_events=n)
    interval = confidence_interval("answered", value, resamples=resamples, sizes=sizes)
    if interval is None:
        return len(sizes) < 2
    return interval[0] - 1e-9 <= p <= interval[1] + 1e-9


@pytest.mark.parametrize("n", [7, 13, 48, 160])
@pytest.mark.parametrize(("mean_size", "correlation"), [(1.0, 0.0), (3.0, 0.0), (3.0, 0.2)])
def test_a_share_is_covered(n: int, mean_size: float, correlation: float) -> None:
    rng = np.random.default_rng([n, round(10 * correlation)])
    covered = [
        share_is_covered(rng, p, n=n, mean_size=mean_size, correlation=correlation)
        for p in SHARES
        for _ in range(45)
    ]
    # 400 experiments tell 95 % within 2.2 points; single events come in steps of 1 / n.
    assert 0.92 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("n_dialogues", [7, 48])
@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_a_rate_is_covered(n_dialogues: int, rate: float) -> None:
    rng = np.random.default_rng(n_dialogues)
    covered = []
    for _ in range(200):
        counts = rng.poisson(rate, n_dialogues)
        resamples = counts[rng.integers(0, n_dialogues, (200, n_dialogues))].mean(axis=1)
        value = per_minute(int(counts.sum()), float(n_dialogues))
        sizes = np.ones(n_dialogues, np.int64)
        low, high = confidence_interval("a_per_min", value, resamples=resamples, sizes=sizes) or (
            np.nan,
            np.nan,
        )
        covered.append(low <= rate <= high)
    assert np.mean(covered) >= 0.93


def test_certainty_needs_events() -> None:
    """At 0 and 1 an interval has the width of so many events (Wilson; the rule of three)."""
    once = np.ones(48, np.int64)
    all_of = confidence_interval("a", Estimate(1.0, n_events=48), resamples=np.ones(9), sizes=once)
    assert all_of == pytest.approx((0.926, 1.0), abs=1e-3)
    none_of = confidence_interval(
        "a", Estimate(0.0, n_events=48), resamples=np.zeros(9), sizes=once
    )
    assert none_of == pytest.approx((0.0, 0.074), abs=1e-3)
    seldom = confidence_interval(
        "a_per_min", per_minute(0, 48.0), resamples=np.zeros(9), sizes=once
    )
    assert seldom == pytest.approx((0.0, 3.689 / 48), abs=1e-4)


def test_events_that_come_together_count_for_fewer() -> None:
    """Dialogues of ten events that all succeed or all fail are worth one event each."""
    rng = np.random.default_rng(0)
    hits = np.repeat([0, 10], 20)
    draws = rng.integers(0, 40, (1000, 40))
    together = hits[draws].sum(axis=1) / 400
    alone = rng.binomial(400, 0.5, 1000) / 400
    sizes = np.full(40, 10)
    value = Estimate(0.5, n_events=400)
    widths = []
    for resamples in (together, alone):
        low, high = confidence_interval("a", value, resamples=resamples, sizes=sizes) or (0, 0)
        widths.append(high - low)
    assert widths[0] == pytest.approx(2 * 0.148, abs=0.02)
    assert widths[1] == pytest.approx(2 * 0.049, abs=0.02)


def test_one_dialogue_and_nothing_measured_have_no_interval() -> None:
    value, resamples = Estimate(0.5, n_events=10), np.full(9, 0.5)
    assert confidence_interval("a", value, resamples=resamples, sizes=np.array([10])) is None
    assert confidence_interval("a", None, resamples=resamples, sizes=np.array([5, 5])) is None
    nothing = np.full(9, np.nan)
    assert confidence_interval("a", value, resamples=nothing, sizes=np.array([5, 5])) is None
    assert confidence_interval("a_s", value, resamples=resamples, sizes=np.array([5, 5])) is None


def test_a_difference_is_narrower_where_both_move_together() -> None:
    first, second = (0.8, (0.7, 0.9)), (0.9, (0.8, 0.95))
    apart = difference_interval(first, second, correlation=0.0)
    together = difference_interval(first, second, correlation=0.9)
    assert apart == pytest.approx((0.1 - 0.02**0.5, 0.1 + (0.05**2 + 0.1**2) ** 0.5))
    assert apart[0] < together[0] < 0.1 < together[1] < apart[1]


def test_a_score_counts_events_beside_dialogues() -> None:
    def measure(dialogues: list[Observations]) -> dict[str, float | None]:
        hits = [hit for one in dialogues for hit in one["hits"]]
        return {
            "right": share(hits),
            "wrong_per_min": per_minute(sum(not hit for hit in hits), len(dialogues) / 2),
            "both": mean([value for value in (share(hits), ratio(1, 2)) if value is not None]),
        }

    suite = Suite(
        name="made_up",
        asks="",
        headline="right",
        title_note="",
        observe=lambda scene: {},
        measure=measure,
        n_dialogues=4,
        meanings={"right": "hits", "wrong_per_min": "misses", "both": "mean"},
    )
    observations: list[Observations] = [{"hits": [True] * n} for n in (1, 0, 3, 2)]
    scores = score_suite(suite, observations, seed=0).metrics
    assert [(one.n, one.n_dialogues) for one in scores.values()] == [(6, 4), (0, 4), (8, 4)]
    assert scores["right"].ci95 is not None
    assert 0.4 < scores["right"].ci95[0] < 0.7
    assert scores["wrong_per_min"].ci95 == pytest.approx((0.0, 3.689 / 2), abs=1e-3)
    empty = score_suite(replace(suite, n_dialogues=0), [], seed=0)
    assert [(one.value, one.ci95, one.n) for one in list(empty.metrics.values())[:2]] == [
        (None, None, 0)
    ] * 2
