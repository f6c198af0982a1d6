"""Full-Duplex-Bench v1.5 restated: overlaps and replies of hand-made spans, behaviours of words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.evaluation.suites.fdb.v1_5_formulas import (
    RESPOND,
    RESUME,
    UNCERTAIN,
    UNKNOWN,
    behaviour,
    joined,
    replies,
    stops,
    touching,
)

Spans = list[tuple[float, float]]


def test_spans_join_up_to_the_gap() -> None:
    assert joined([(2.0, 3.0), (0.0, 1.0), (1.5, 1.8)], 0.5) == [(0.0, 3.0)]
    assert joined([(0.0, 1.0), (1.7, 2.0)], 0.6) == [(0.0, 1.0), (1.7, 2.0)]
    assert joined([(0.0, 3.0), (1.0, 2.0)], 0.5) == [(0.0, 3.0)]
    assert joined([], 0.5) == []


@pytest.mark.parametrize(
    ("user", "model", "expected"),
    [
        ([], [(0.0, 1.0)], []),
        ([(1.0, 3.0)], [(0.0, 1.5)], [(1.0, 1.5)]),  # stops half a second into it
        ([(1.0, 3.0)], [(0.0, 5.0)], [(1.0, 3.0)]),  # never stops: as long as the user speaks
        ([(1.0, 3.0)], [(3.0, 5.0)], []),  # touching is not overlapping
        ([(1.0, 3.0)], [(1.2, 1.5), (2.0, 2.4)], [(1.2, 1.5), (2.0, 2.4)]),
        # Two stretches of the model end where the user's does: the shorter one stays.
        ([(1.0, 3.0)], [(1.5, 2.0), (2.5, 3.2)], [(1.5, 2.0), (2.5, 3.0)]),
        # Ends within a millisecond are one.
        ([(1.0, 2.0), (2.0, 2.0004)], [(0.5, 3.0)], [(2.0, 2.0)]),
    ],
)
def test_stop_latencies(user: Spans, model: Spans, expected: Spans) -> None:
    assert stops(user, model) == expected


@pytest.mark.parametrize(
    ("user", "model", "expected"),
    [
        ([(1.0, 2.0)], [], []),  # no reply
        ([(1.0, 2.0)], [(2.5, 3.0)], [(2.0, 2.5)]),
        ([(1.0, 2.0)], [(2.0, 3.0)], []),  # at the same moment is not after it
        ([(1.0, 2.0)], [(1.5, 2.5), (4.0, 5.0)], [(2.0, 4.0)]),  # one that began before is none
        # Two turns wait for one reply: the later of them counts.
        ([(0.0, 1.0), (2.0, 3.0)], [(3.4, 4.0)], [(3.0, 3.4)]),
        ([(0.0, 1.0), (2.0, 3.0)], [(1.3, 1.9), (3.4, 4.0)], [(1.0, 1.3), (3.0, 3.4)]),
    ],
)
def test_response_latencies(user: Spans, model: Spans, expected: Spans) -> None:
    assert replies(user, model) == expected


SPANS = st.lists(st.tuples(st.floats(0, 20), st.floats(0.01, 3)), max_size=8).map(
    lambda drawn: joined([(a, a + n) for a, n in drawn], 0.1)
)


@given(SPANS, SPANS)
def test_overlaps_are_inside_both_and_replies_begin_after_the_user(
    user: Spans, model: Spans
) -> None:
    for start, end in stops(user, model):
        assert any(a - 1e-3 <= start and end <= b + 1e-3 for a, b in user)
        assert any(a - 1e-3 <= start and end <= b + 1e-3 for a, b in model)
    waits = replies(user, model)
    assert all(onset >= ended for ended, onset in waits)
    assert len({onset for _, onset in waits}) == len(waits)


def test_which_intervals_belong_to_an_event() -> None:
    spans = [(0.0, 1.0), (2.0, 2.5), (3.0, 3.6), (9.0, 9.5)]
    assert touching(spans, (2.2, 3.0)) == [(2.0, 2.5), (3.0, 3.6)]


LEFT = [("six", "seven", "eight"), ("five", "six", "seven", "eight")]


@pytest.mark.parametrize(
    ("said", "answer", "tag"),
    [
        ("", "monday", UNKNOWN),  # silent for good
        ("monday", "monday", RESPOND),
        ("six monday", "monday", RESPOND),  # finishes its word, then answers
        ("six seven eight", "monday", RESUME),
        ("five six seven eight", "", RESUME),
        ("five six seven eight nine", "", RESUME),  # one word more
        ("six seven eight six seven eight", "", UNKNOWN),  # never stops
        ("six seven", "", RESUME),  # one word short
        ("six", "", UNKNOWN),  # breaks off
        ("friday", "monday", UNKNOWN),  # a wrong answer
        ("i'm sorry", "monday", UNCERTAIN),
        ("please repeat that", "", UNCERTAIN),
        ("six seven eight monday", "monday", RESUME),  # goes on, then answers
    ],
)
def test_behaviours(said: str, answer: str, tag: str) -> None:
    assert behaviour(said.split(), answer.split(), LEFT) == tag


def test_nothing_was_left_to_resume() -> None:
    assert behaviour(["six"], [], [()]) == UNKNOWN
