"""CueSpeak's twin: hand-made timelines, and agents of which everything is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.cue_speak import measure, observe, user_turns
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


@pytest.fixture
def recital(script: HandMadeDialogue) -> HandMadeDialogue:
    """`alpha equals seven`, then a turn from 3.0 to 8.4 whose third word, at 4.2, is the cue."""
    script.event("spoken_cue", 0.5, 2.0)
    script.user += [
        word(text, 0.5 + 0.5 * i, 0.4) for i, text in enumerate(["alpha", "equals", "seven"])
    ]
    names = ["mike", "golf", "alpha", "echo", "kilo", "lima", "papa", "oscar", "tango"]
    script.user += [word(text, 3.0 + 0.6 * i, 0.5) for i, text in enumerate(names)]
    script.event("spoken_cue", 4.2, 4.7, "say", answer="seven", window=(4.7, 6.2))
    script.says("seven", 5.0)
    return script


def test_words_close_to_each_other_are_one_turn(recital: HandMadeDialogue) -> None:
    turns = user_turns(recital.scene(recital.perform()))
    assert [(round(a, 2), round(b, 2)) for a, b in turns] == [(0.5, 1.9), (3.0, 8.3)]


@pytest.mark.parametrize(
    ("said", "accuracy", "right", "over_user"),
    [
        ([], 0.0, 0.0, 0.0),
        ([("seven", 5.0)], 1.0, 1.0, 1.0),
        ([("seven", 6.15)], 1.0, 1.0, 1.0),
        ([("seven", 6.4)], 0.0, 1.0, 0.0),  # too late
        ([("eight", 5.0)], 0.0, 0.0, 0.0),
        ([("seven", 4.3)], 0.0, 0.0, 0.0),  # before the cue is over: a guess
        ([("seven", 5.0), ("seven", 5.5)], 0.0, 0.0, 0.0),  # twice
        ([("seven", 9.0)], 0.0, 1.0, 0.0),  # waited until the user had finished
    ],
)
def test_one_cue(
    recital: HandMadeDialogue,
    said: list[tuple[str, float]],
    accuracy: float,
    right: float,
    over_user: float,
) -> None:
    facts = observe(recital.scene(recital.perform(*(word(*one) for one in said))))
    numbers = measure([facts])
    assert (numbers["accuracy"], numbers["right_words"], numbers["over_user"]) == (
        accuracy,
        right,
        over_user,
    )


def test_lag_is_from_the_end_of_the_cue(recital: HandMadeDialogue) -> None:
    numbers = measure([observe(recital.scene(recital.perform(word("seven", 5.4))))])
    assert numbers["lag_s"] == pytest.approx(0.7, abs=0.011)  # frames of 10 ms
    late = measure([observe(recital.scene(recital.perform()))])
    assert late["lag_s"] is None


def test_credit_may_be_earned_after_the_turn_but_then_it_is_not_over_the_user(
    script: HandMadeDialogue,
) -> None:
    script.user += [word("echo", 3.0), word("alpha", 3.5)]
    script.event("spoken_cue", 3.5, 3.86, "say", answer="seven", window=(3.86, 5.36))
    numbers = measure([observe(script.scene(script.perform(word("seven", 4.4))))])
    assert (numbers["accuracy"], numbers["over_user"]) == (1.0, 0.0)


def test_talk_that_no_cue_explains_is_counted(recital: HandMadeDialogue) -> None:
    said = [word("one", 3.2), word("seven", 5.0), word("two", 7.0), word("three", 11.0)]
    facts = observe(recital.scene(recital.perform(*said)))
    assert facts["strays"] == 2  # the last one comes when the user is silent
    minutes = (1.4 + 5.3) / 60
    assert measure([facts])["strays_per_min"] == pytest.approx(2 / minutes)


def test_nothing_asked_is_nothing_measured(script: HandMadeDialogue) -> None:
    assert set(measure([observe(script.scene(script.perform()))]).values()) == {None}


def test_agents_score_what_theory_says(numbers_of: Callable[..., dict[str, Measured]]) -> None:
    numbers = numbers_of("cue_speak", 8)
    names = ("accuracy", "right_words", "over_user")
    assert [numbers["oracle"][name] for name in names] == [1.0] * 3
    assert [numbers["silent"][name] for name in names] == [0.0] * 3
    assert [numbers["always"][name] for name in names] == [0.0] * 3
    assert numbers["oracle"]["strays_per_min"] == numbers["silent"]["strays_per_min"] == 0.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("cue_speak", 8)
