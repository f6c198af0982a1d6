"""A rank that the others wait for is named, with its share, when it becomes slow."""

from __future__ import annotations

import pytest

from microturn.training.watch.slow_ranks import SlowRanks


def parts(*seconds: tuple[float, float]) -> list[str]:
    return [
        SlowRanks.own_part({"time/data_s": data, "time/forward_s": forward})
        for data, forward in seconds
    ]


def test_a_slow_rank_is_named_once() -> None:
    ranks = SlowRanks()
    even = parts((0, 0.2), (0, 0.22), (0.01, 0.2), (0, 0.2))
    metrics, said = ranks.compare(even)
    assert said == ""
    assert metrics == {"rank/slowest": 1, "rank/slowest_share": pytest.approx(1.1)}
    slow = parts((0, 0.2), (0.3, 0.21), (0.01, 0.2), (0, 0.2))
    metrics, said = ranks.compare(slow)
    assert metrics["rank/slowest_share"] == pytest.approx(2.55)
    assert said == (
        "the others wait for rank 1 0.51 s (2.5 times the median; data 0.3, forward pass 0.21)"
    )
    assert ranks.compare(slow)[1] == ""
    assert ranks.compare(even)[1] == ""
    assert ranks.compare(slow)[1] == said


def test_of_two_ranks_the_faster_one_is_the_measure() -> None:
    metrics, said = SlowRanks().compare(parts((0, 0.5), (0, 0.2)))
    assert metrics == {"rank/slowest": 0, "rank/slowest_share": pytest.approx(2.5)}
    assert "rank 0 0.5 s (2.5 times" in said
