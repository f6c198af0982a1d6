"""Translation: hand-made passages, and agents of which everything is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.suite import Measured
from microturn.evaluation.suites.translation import f1, measure, observe, passages
from support.hand_made import HandMadeDialogue


def word(text: str, start_s: float) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + 0.3)


def heard(script: HandMadeDialogue, start_s: float, end_s: float, english: str) -> None:
    script.user.append(SpokenWord(text="palabra", start_s=start_s, end_s=end_s))
    window = (end_s, end_s + 2.0)
    script.event("translation", start_s, end_s, "say", answer=english, window=window)


@pytest.fixture
def passage(script: HandMadeDialogue) -> HandMadeDialogue:
    """Three words, the first two of which mean the same."""
    for start_s, english in ((1.0, "two"), (2.0, "two"), (3.0, "march")):
        heard(script, start_s, start_s + 0.8, english)
        script.says(english, start_s + 1.1)
    return script


@pytest.mark.parametrize(
    ("said", "right", "score", "content"),
    [
        ([("two", 2.1), ("two", 3.1), ("march", 4.1)], 3, 1.0, 1.0),
        ([("two", 2.1), ("march", 4.1)], 2, 0.8, 2 / 3),  # one "two" answers one of them
        ([("march", 4.1)], 1, 0.5, 1 / 3),
        ([], 0, 0.0, 0.0),
        ([("march", 1.9), ("two", 3.1), ("two", 4.1)], 2, 2 / 3, 1 / 3),  # in order
        ([("two", 1.2)], 0, 0.0, 1 / 3),  # before it was heard: right words, wrong time
        ([("two", 2.1), ("two", 3.1), ("march", 5.7)], 3, 1.0, 1.0),
        ([("two", 2.1), ("two", 3.1), ("march", 5.9)], 2, 0.8, 2 / 3),  # too late
        ([("two", 2.1), ("uh", 2.6), ("two", 3.1), ("march", 4.1)], 3, 6 / 7, 2 / 3),
        ([("x", 1 + 0.5 * i) for i in range(9)], 0, 0.0, 0.0),
    ],
)
def test_one_passage(
    passage: HandMadeDialogue,
    said: list[tuple[str, float]],
    right: int,
    score: float,
    content: float,
) -> None:
    facts = observe(passage.scene(passage.perform(*(word(*one) for one in said))))
    assert [item["right"] for item in facts["passages"]] == [right]
    numbers = measure([facts])
    assert numbers["in_time_f1"] == pytest.approx(score)
    assert numbers["translated"] == pytest.approx(right / 3)
    assert numbers["content"] == pytest.approx(content)


def test_lag_and_overlap(passage: HandMadeDialogue) -> None:
    said = [word("two", 2.1), word("two", 2.9), word("march", 4.8)]
    numbers = measure([observe(passage.scene(passage.perform(*said)))])
    assert numbers["lag_s"] == pytest.approx(0.3, abs=0.011)  # 0.3, 0.1 and 1.0
    assert numbers["lag_p90_s"] == pytest.approx(0.3, abs=0.011)
    assert numbers["over_user"] == pytest.approx(1 / 3)  # only at 2.1 does somebody speak


def test_several_words_for_one(script: HandMadeDialogue) -> None:
    heard(script, 1.0, 2.0, "good morning")
    whole = observe(script.scene(script.perform(word("good", 2.3), word("morning", 2.7))))
    half = observe(script.scene(script.perform(word("good", 2.3))))
    assert measure([whole])["in_time_f1"] == 1.0
    assert measure([half])["in_time_f1"] == 0.0


def test_passages_are_apart_when_their_windows_are(passage: HandMadeDialogue) -> None:
    heard(passage, 9.0, 9.8, "five")
    found = passages(passage.scene(passage.perform()))
    assert [len(events) for events in found] == [3, 1]
    facts = observe(passage.scene(passage.perform(word("hello", 7.5))))  # between the two
    assert [item["said"] for item in facts["passages"]] == [0, 0]


def test_f1_of_nothing() -> None:
    assert f1(0, 0, 0) is None
    assert f1(0, 5, 0) is None
    assert f1(0, 0, 5) == 0.0
    assert f1(2, 2, 2) == 1.0


def test_nothing_asked_is_nothing_measured(script: HandMadeDialogue) -> None:
    assert set(measure([observe(script.scene(script.perform()))]).values()) == {None}


def test_agents_score_what_theory_says(numbers_of: Callable[..., dict[str, Measured]]) -> None:
    numbers = numbers_of("translation", 8)
    oracle, silent, always = (numbers[name] for name in ("oracle", "silent", "always"))
    names = ("in_time_f1", "translated", "content")
    assert [oracle[name] for name in names] == [1.0] * 3
    assert [silent[name] for name in names] == [0.0] * 3
    assert always["content"] == 0.0
    assert (always["in_time_f1"] or 0.0) < 0.15  # words that happen to be due
    # Words are answered in the second micro-turn after the one in which they end.
    assert 0.2 <= (oracle["lag_s"] or 0.0) <= 0.45
    assert (oracle["over_user"] or 0.0) > 0.4


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("translation", 8)
