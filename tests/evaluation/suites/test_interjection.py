"""Interjections: corrections in time, late, wrong, and where there is nothing to correct."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.interjection import measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


@pytest.fixture
def recited(script: HandMadeDialogue) -> HandMadeDialogue:
    """`monday tuesday thursday friday saturday` until 4.4: wednesday is due from 3.4 to 4.9."""
    texts = ["monday", "tuesday", "thursday", "friday", "saturday"]
    script.user += [word(text, 2.0 + 0.5 * i, 0.4) for i, text in enumerate(texts)]
    script.event("interjection", 3.0, 3.4, "say", answer="wednesday", window=(3.4, 4.9))
    return script


@pytest.mark.parametrize(
    ("said", "corrected", "over", "f1"),
    [
        ([], 0.0, None, 0.0),
        ([word("wednesday", 3.8)], 1.0, 1.0, 1.0),
        ([word("wednesday", 4.88)], 1.0, 0.0, 1.0),  # in time, but the user has finished
        ([word("wednesday", 5.4)], 0.0, None, 0.0),  # too late
        ([word("friday", 3.8)], 0.0, None, 0.0),  # wrong
        ([word("wednesday", 2.9)], 0.0, None, 0.0),  # before the mistake
        ([word("wednesday", 3.8), word("wednesday", 4.4)], 0.0, None, 0.0),  # twice
        ([word("monday", 2.2), word("wednesday", 3.8)], 0.0, None, 0.0),  # talks along
    ],
)
def test_a_mistake(
    recited: HandMadeDialogue,
    said: list[SpokenWord],
    corrected: float,
    over: float | None,
    f1: float,
) -> None:
    got = measure([observe(recited.scene(recited.perform(*said)))])
    assert (got["corrected"], got["over_the_user"], got["f1"]) == (corrected, over, f1)
    assert got["flawless_left_alone"] is None


@pytest.mark.parametrize(("said", "alone"), [([], 1.0), ([word("wednesday", 3.0)], 0.0)])
def test_a_flawless_recital(script: HandMadeDialogue, said: list[SpokenWord], alone: float) -> None:
    script.event("interjection", 2.0, 5.0, "stay_silent", window=(2.0, 5.8))
    got = measure([observe(script.scene(script.perform(*said)))])
    assert got["flawless_left_alone"] == alone
    # Without a mistake and without a false correction there is nothing to take an F1 of.
    assert got["f1"] == (None if alone else 0.0)


def test_f1_of_a_hit_a_miss_and_a_false_one() -> None:
    hit = {"mistake": True, "clean": True, "hit": True, "over": True, "late_s": 0.3, "n_wrong": 0}
    miss = hit | {"clean": True, "hit": False, "late_s": None}
    false = miss | {"mistake": False, "n_wrong": 2}
    assert measure([{"recitals": [hit, miss, false]}])["f1"] == pytest.approx(2 / 4)
    assert measure([{"recitals": [hit]}, {"recitals": [hit]}])["f1"] == 1.0
    assert set(measure([]).values()) == {None}


def test_baselines_score_what_theory_says(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("interjection", 8)
    assert got["oracle"]["f1"] == got["oracle"]["flawless_left_alone"] == 1.0
    assert got["oracle"]["over_the_user"] == 1.0  # the user is still speaking, always
    assert got["silent"]["f1"] == got["always"]["f1"] == 0.0
    assert (got["silent"]["flawless_left_alone"], got["always"]["flawless_left_alone"]) == (
        1.0,
        0.0,
    )


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("interjection", 8)
