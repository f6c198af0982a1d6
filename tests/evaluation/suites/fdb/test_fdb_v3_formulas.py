"""Full-Duplex-Bench v3 restated: its own examples, and the edges of every formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.evaluation.suites.fdb.v3_formulas import (
    Call,
    argument_accuracy,
    passed,
    same_arguments,
    tool_f1,
)

SEARCH = Call(function="search_flights", args={"destination": "London", "date": "August 20"})
BOOK = Call(function="book_flight", args={"passenger_name": "Alice"})
PARIS = Call(function="search_flights", args={"destination": "Paris", "date": "August 20"})
CANCEL = Call(function="cancel_flight", args={"flight_id": "F123"})


@pytest.mark.parametrize(
    ("actual", "f1", "arguments", "passes"),
    [
        ([SEARCH, BOOK], 1.0, 1.0, True),
        ([BOOK, SEARCH], 1.0, 1.0, True),  # the order of different tools does not matter
        ([SEARCH], 2 / 3, 0.5, False),  # one is missing
        ([], 0.0, 0.0, False),  # none: recall 0 and precision 1 make 0
        ([SEARCH, BOOK, CANCEL], 0.8, 1.0, False),  # one too many
        ([PARIS, BOOK], 1.0, 0.5, False),  # a wrong argument
        ([SEARCH, BOOK, BOOK], 0.8, 1.0, False),  # twice is one too many
        ([CANCEL], 0.0, 0.0, False),
    ],
)
def test_two_calls_are_expected(
    actual: list[Call], f1: float, arguments: float, passes: bool
) -> None:
    expected = [SEARCH, BOOK]
    assert tool_f1(expected, actual) == pytest.approx(f1)
    assert argument_accuracy(expected, actual) == pytest.approx(arguments)
    assert passed(expected, actual) is passes


def test_nothing_is_expected() -> None:
    assert tool_f1([], []) == 1.0
    assert argument_accuracy([], [CANCEL]) == 1.0
    assert passed([], [])
    assert not passed([], [CANCEL])
    assert tool_f1([], [CANCEL]) == 0.0


def test_calls_of_one_tool_are_compared_in_order() -> None:
    assert argument_accuracy([SEARCH, PARIS], [SEARCH, PARIS]) == 1.0
    assert argument_accuracy([SEARCH, PARIS], [PARIS, SEARCH]) == 0.0


def test_arguments_are_equal_as_the_scripts_compare_them() -> None:
    assert same_arguments({"doc": "driver_license"}, {"doc": " Driver license"})
    assert same_arguments({"id": "$RESULT_0.flight_id"}, {"id": "F1"})
    assert not same_arguments({"id": "$RESULT_0.flight_id"}, {})
    assert same_arguments({"n": 2}, {"n": 2, "more": "no harm"})
    assert not same_arguments({"n": 2}, {"n": 3})
    assert same_arguments({}, {})


@given(st.lists(st.sampled_from([SEARCH, BOOK, PARIS, CANCEL]), max_size=5))
def test_the_expected_calls_always_pass(calls: list[Call]) -> None:
    assert passed(calls, calls)
    assert tool_f1(calls, calls) == 1.0
