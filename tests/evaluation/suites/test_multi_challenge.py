"""MultiChallenge's twin: what is recalled, whatever else is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.multi_challenge import AXES, axis_of, measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("password", "memory"),
        ("last", "coherence"),
        ("and friday", "edit"),
        ("no tuesday", "edit"),
        ("number seven", "instruction"),
        ("goodbye", "instruction"),
    ],
)
def test_axes(text: str, axis: str) -> None:
    event = EventLabel(type="recall", start_s=0.0, end_s=1.0, text=text, speaker="user")
    assert axis_of(event, ["password"]) == axis


def recall(script: HandMadeDialogue, text: str, start_s: float, answer: str) -> None:
    script.event("recall", start_s, start_s + 0.5, "respond", answer=answer)
    script.events[-1] = replace(script.events[-1], text=text, speaker="user")


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ([], 0.0),
        ([word("seven", 4.8), word("four", 5.2)], 1.0),
        ([word("seven", 6.8), word("four", 7.2)], 1.0),  # late: content is what is asked
        ([word("seven", 4.8)], 0.0),
        ([word("four", 4.8), word("seven", 5.2)], 0.0),
        ([word("seven", 3.0), word("four", 3.4)], 0.0),  # before it was asked for
        ([word("seven", 4.8), word("four", 5.2), word("five", 5.6)], 0.0),
        ([word("seven", 4.8), word("four", 5.2), word("five", 7.9)], 1.0),  # something else, later
        ([word("one", 4.8), word("seven", 6.8), word("four", 7.2)], 0.0),  # two replies: the first
    ],
)
def test_a_rubric(script: HandMadeDialogue, said: list[SpokenWord], passed: float) -> None:
    recall(script, "last", 4.0, "seven four")
    recall(script, "last", 9.0, "one")
    got = measure([observe(script.scene(script.perform(*said)))])
    assert got["coherence"] == passed / 2
    assert got["memory"] is None


def test_nothing_at_all() -> None:
    assert set(measure([]).values()) == {None}


def test_baselines_score_what_theory_says(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("multi_challenge", 12)
    assert got["oracle"]["apr"] == 1.0
    assert all(got["oracle"][axis] == 1.0 for axis in AXES)  # every axis is there
    assert got["silent"]["apr"] == got["always"]["apr"] == 0.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("multi_challenge", 12)
