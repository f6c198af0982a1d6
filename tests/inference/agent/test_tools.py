from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.agent.numbers import LIMIT, number_words, read_number
from microturn.inference.agent.tools import (
    Calculator,
    Clock,
    ToolError,
    calculate,
    clock_words,
    latest_request,
)

TOOLS = (Calculator(), Clock(lambda: datetime(2026, 3, 1, 17, 22), "hour"))


def answer(said: str) -> str:
    return latest_request(TOOLS, said.split()).answer()


@given(st.integers(0, LIMIT - 1))
def test_every_spelled_number_is_read_back(value: int) -> None:
    words = number_words(value).split()
    assert read_number(words, 0) == (value, len(words))


@pytest.mark.parametrize(
    ("said", "value", "n_words"),
    [
        ("twenty one", 21, 2),
        ("one hundred and five", 105, 4),
        ("two thousand and six", 2006, 4),
        ("42", 42, 1),
        ("two three", 2, 1),  # two numbers, not one
        ("twenty zero", 20, 1),
        ("five and six", 5, 1),
        ("five hundred hundred", 500, 2),
    ],
)
def test_spoken_numbers_are_read(said: str, value: int, n_words: int) -> None:
    assert read_number(said.split(), 0) == (value, n_words)


def test_words_that_are_no_number() -> None:
    assert read_number(["hundred"], 0) is None
    assert read_number(["hello"], 0) is None
    assert read_number([], 0) is None


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("eight plus three", "eleven"),
        ("uh what is eight plus three please", "eleven"),
        ("eight minus three", "five"),
        ("three minus eight", "minus five"),
        ("six times seven", "forty two"),
        ("nine divided by two", "four point five"),
        ("one over three", "zero point three three three"),
        ("two plus three times four", "fourteen"),
        ("one hundred and five plus twenty one", "one hundred twenty six"),
        ("one plus one seven plus two", "nine"),  # the latest request
        ("time", "five o'clock"),
        ("eight plus three time", "five o'clock"),
        ("time eight plus three", "eleven"),
    ],
)
def test_requests_are_found_in_words(said: str, result: str) -> None:
    assert answer(said) == result


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("hello", "nothing in the conversation asks"),
        ("", "nothing in the conversation asks"),
        ("eight plus", "nothing in the conversation asks"),
        ("five divided by zero", "divided by zero"),
        ("999999999999 plus 1", "too large"),
        (" times ".join(["nine hundred billion"] * 30), "too large"),
    ],
)
def test_a_request_without_an_answer_says_why(said: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        answer(said)


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "a", "9**9**9", "'a'*9", "True+1", "[1]", "1 if 1 else 2", "(1).real"],
)
def test_only_arithmetic_is_evaluated(expression: str) -> None:
    with pytest.raises(ToolError, match="only numbers and"):
        calculate(expression)


@pytest.mark.parametrize("expression", ["", "1 +", "(" * 500, "1\x00"])
def test_text_that_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ToolError, match="is not a calculation"):
        calculate(expression)


@pytest.mark.parametrize(
    ("hour", "minute", "to_the_hour", "to_the_minute"),
    [
        (0, 0, "twelve o'clock", "twelve o'clock"),
        (12, 29, "twelve o'clock", "twelve twenty nine"),
        (12, 30, "one o'clock", "twelve thirty"),
        (17, 5, "five o'clock", "five oh five"),
        (23, 45, "twelve o'clock", "eleven forty five"),
    ],
)
def test_times_as_they_are_read_aloud(
    hour: int, minute: int, to_the_hour: str, to_the_minute: str
) -> None:
    moment = datetime(2026, 3, 1, hour, minute)
    assert clock_words(moment, "hour") == to_the_hour
    assert clock_words(moment, "minute") == to_the_minute
