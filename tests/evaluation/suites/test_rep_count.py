"""RepCount's twin: its arithmetic, hand-made exercises, and agents of which everything is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.datagen.labels.dialogue import EventLabel, ExpectLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.suites.rep_count import (
    NUMBERS,
    mean_absolute_error,
    measure,
    observe,
    off_by_one,
)
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

TEXTS = list(NUMBERS)
Counts = list[tuple[int | None, int]]


def word(text: str, start_s: float) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + 0.3)


@pytest.fixture
def exercise(script: HandMadeDialogue) -> HandMadeDialogue:
    """Four repetitions that end at 4, 6, 8 and 10 s."""
    asked(script, 1.0, 2.0)
    for number in range(1, 5):
        repetition(script, 2.0 + 2.0 * number, TEXTS[number - 1])
    script.events.append(
        EventLabel(
            type="visual_count",
            start_s=11.0,
            end_s=12.0,
            speaker="scene",
            expect=ExpectLabel(act="stay_silent", window_s=(11.0, 12.0)),
        )
    )
    return script


def asked(script: HandMadeDialogue, start_s: float, end_s: float) -> None:
    event = EventLabel(
        type="visual_count",
        start_s=start_s,
        end_s=end_s,
        speaker="user",
        expect=ExpectLabel(act="stay_silent", window_s=(end_s, end_s + 0.5)),
    )
    script.events.append(event)


def repetition(script: HandMadeDialogue, done_s: float, text: str) -> None:
    script.events.append(
        EventLabel(
            type="visual_count",
            start_s=done_s - 1.2,
            end_s=done_s,
            speaker="scene",
            expect=ExpectLabel(act="say", text=text, window_s=(done_s, done_s + 1.0)),
        )
    )
    script.says(text, done_s + 0.3)


@pytest.mark.parametrize(
    ("said", "last", "in_time"),
    [
        ([("one", 4.3), ("two", 6.3), ("three", 8.3), ("four", 10.3)], 4, 4),
        ([("four", 10.3)], 4, 1),  # the last number is what RepCount asks for
        ([("one", 4.3), ("two", 6.3), ("three", 8.3)], 3, 3),  # missed the last
        ([("one", 4.3), ("two", 6.3)], None, 2),  # nothing after the penultimate
        ([("four", 5.0)], None, 0),  # said before: a guess
        ([("four", 10.3), ("five", 12.3)], 5, 1),  # one too many
        ([("four", 10.3), ("playback", 12.3)], 4, 1),  # no number
        ([("four", 11.5)], 4, 0),  # late
        ([("two", 4.3), ("three", 6.3), ("four", 8.3), ("five", 10.3)], 5, 0),  # ahead by one
        ([("two", 4.3), ("two", 6.3)], None, 1),
        ([], None, 0),
    ],
)
def test_what_was_counted(
    exercise: HandMadeDialogue, said: list[tuple[str, float]], last: int | None, in_time: int
) -> None:
    facts = observe(exercise.scene(exercise.perform(*(word(*one) for one in said))))
    assert [(s["count"], s["said"], s["in_time"]) for s in facts["series"]] == [(4, last, in_time)]


def test_a_single_repetition_has_no_penultimate(script: HandMadeDialogue) -> None:
    asked(script, 1.0, 2.0)
    repetition(script, 5.0, "one")
    early = observe(script.scene(script.perform(word("one", 3.0))))
    assert early["series"][0]["said"] == 1
    assert early["series"][0]["in_time"] == 0


def test_exercises_do_not_run_into_each_other(exercise: HandMadeDialogue) -> None:
    asked(exercise, 12.5, 13.0)
    repetition(exercise, 14.5, "one")
    facts = observe(exercise.scene(exercise.recorded()))
    assert [(s["count"], s["said"]) for s in facts["series"]] == [(4, 4), (1, 1)]
    assert measure([facts])["exact"] == 1.0


def test_obo_and_mae_of_known_counts() -> None:
    assert off_by_one([]) is None
    assert mean_absolute_error([]) is None
    assert off_by_one([(3, 4), (4, 4), (5, 4), (6, 4)]) == 0.75
    assert off_by_one([(None, 1)]) == 0.0  # though zero would be within one of it
    assert off_by_one([(1, 0)]) == 1.0
    assert mean_absolute_error([(6, 4)]) == pytest.approx(2 / 4.1)
    assert mean_absolute_error([(2, 0)]) == pytest.approx(2 / 0.1)  # no division by zero
    assert mean_absolute_error([(None, 5)]) == pytest.approx(5 / 5.1)
    assert mean_absolute_error([(4, 4), (6, 4)]) == pytest.approx(1 / 4.1)


@given(st.lists(st.tuples(st.none() | st.integers(0, 20), st.integers(0, 20)), min_size=1))
def test_exact_counts_are_within_one_and_without_error(counts: Counts) -> None:
    exact = sum(said == true for said, true in counts) / len(counts)
    within, error = off_by_one(counts), mean_absolute_error(counts)
    assert within is not None
    assert error is not None
    assert exact <= within <= 1.0
    assert error >= 0.0
    if exact == 1.0:
        assert error == 0.0


def test_nothing_asked_is_nothing_measured(script: HandMadeDialogue) -> None:
    assert set(measure([observe(script.scene(script.perform()))]).values()) == {None}


def test_agents_score_what_theory_says(
    numbers_of: Callable[..., dict[str, Measured]],
    held_out: Callable[[str, int], list[HeldOutDialogue]],
) -> None:
    numbers, samples = numbers_of("rep_count", 8), held_out("rep_count", 8)
    oracle, silent, always = (numbers[name] for name in ("oracle", "silent", "always"))
    assert (oracle["exact"], oracle["obo"], oracle["mae_error"]) == (1.0, 1.0, 0.0)
    assert oracle["in_time"] == 1.0
    # Frames are those at the end of a micro-turn; the number comes in the second one after it.
    assert 0.2 <= (oracle["lag_s"] or 0.0) <= 0.45
    counts = _counts(samples)
    assert (silent["exact"], silent["obo"]) == (0.0, 0.0)
    assert silent["mae_error"] == pytest.approx(sum(n / (n + 0.1) for n in counts) / len(counts))
    # One recorded utterance over and over, here a single number, guesses that number each time.
    guessed = {n: sum(count == n for count in counts) / len(counts) for n in range(1, 11)}
    assert always["exact"] in guessed.values()
    within = {n: sum(abs(count - n) <= 1 for count in counts) / len(counts) for n in guessed}
    assert (always["exact"], always["obo"]) in [(guessed[n], within[n]) for n in guessed]


def _counts(samples: list[HeldOutDialogue]) -> list[int]:
    """How many repetitions each exercise has, from the expectations alone."""
    counts: list[int] = []
    for sample in samples:
        for event in sample.dialogue.of_type("visual_count"):
            if event.speaker == "user":
                counts.append(0)
            elif event.act == "say":
                counts[-1] += 1
    return counts


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("rep_count", 8)
