"""Events found in recordings: scored from a confidence on, around what the recorded agent did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from microturn.datagen.derive.events import derive_events
from microturn.datagen.derive.speech_units import SpokenSide
from microturn.datagen.labels.dialogue import WordLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import (
    Outcome,
    ResumeOutcome,
    StopOutcome,
    TurnOutcome,
    UnsureOutcome,
)
from microturn.evaluation.suites.event_suites import score_events
from support.hand_made import HandMadeDialogue, word


def recorded(user: list[SpokenWord], agent: list[SpokenWord]) -> HandMadeDialogue:
    """A recorded dialogue with the events that are derived from its words."""
    sides = [
        SpokenSide(
            words=tuple(WordLabel(text=w.text, start_s=w.start_s, end_s=w.end_s) for w in words)
        )
        for words in (user, agent)
    ]
    made = HandMadeDialogue(user=user, agent=agent)
    made.events.extend(derive_events(*sides, duration_s=made.duration_s, language="en"))
    return made


def words(text: str, start_s: float) -> list[SpokenWord]:
    return [word(item, start_s + 0.4 * i) for i, item in enumerate(text.split())]


def outcomes(made: HandMadeDialogue, *spoken: SpokenWord) -> list[Outcome]:
    return score(made.scene(made.perform(*spoken)))


def only(found: Sequence[Outcome], kind: type) -> Outcome:
    (outcome,) = [one for one in found if type(one) is kind]
    return outcome


QUESTION = words("what day is it", 1.0)  # until 2.56


def test_the_recorded_agent_answers_in_time_however_late() -> None:
    answer = words("it must be friday already", 4.0)
    made = recorded(QUESTION, answer)
    turn = only(outcomes(made, *answer), TurnOutcome)
    assert isinstance(turn, TurnOutcome)
    assert (turn.in_window, turn.early, turn.right) == (True, False, None)
    late = only(outcomes(made, *words("friday", 4.6)), TurnOutcome)
    assert isinstance(late, TurnOutcome)
    assert not late.in_window


def test_an_answer_as_early_as_the_recorded_one_is_not_too_early() -> None:
    answer = words("friday friday friday", 2.4)
    made = recorded(QUESTION, answer)
    turn = only(outcomes(made, *answer), TurnOutcome)
    earlier = only(outcomes(made, *words("friday friday", 1.9)), TurnOutcome)
    assert isinstance(turn, TurnOutcome)
    assert isinstance(earlier, TurnOutcome)
    assert (turn.in_window, turn.early) == (True, False)
    assert (earlier.in_window, earlier.early) == (False, True)


def test_other_words_and_as_many_are_no_fault_where_nobody_knows_the_answer() -> None:
    made = recorded(QUESTION, words("it must be friday already", 2.9))
    scene = made.scene(made.perform(*words("well that is a good question", 2.9)))
    assert not scene.unasked
    assert all(one.clean for one in score(scene) if isinstance(one, TurnOutcome))


def test_the_agent_may_stop_as_late_as_the_recorded_one() -> None:
    agent = words("one two three four five six seven eight", 1.0)  # until 4.16
    user = words("please stop that now will you", 3.0)
    made = recorded(user, agent)
    stop = only(outcomes(made, *agent), StopOutcome)
    assert isinstance(stop, StopOutcome)
    assert stop.in_time  # after 1.16 s; placed, 0.8 s would be allowed
    assert stop.latency_s == pytest.approx(1.16, abs=0.02)
    on = only(outcomes(made, *agent, *words("nine ten eleven", 4.2)), StopOutcome)
    assert isinstance(on, StopOutcome)
    assert not on.in_time


def test_events_below_the_limit_are_counted_and_not_scored() -> None:
    agent = words("one two three four five six seven eight", 1.0)
    made = recorded(words("mhm", 2.5), agent)
    (event,) = made.events
    assert event.confidence > 0.6
    found = outcomes(made, *agent)
    resume = only(found, ResumeOutcome)
    assert isinstance(resume, ResumeOutcome)
    assert resume.went_on
    assert only(found, UnsureOutcome) == UnsureOutcome(n_unsure=0, n_events=1)
    made.events[:] = [replace(event, confidence=0.59)]
    found = outcomes(made, *agent)
    assert not any(isinstance(one, ResumeOutcome) for one in found)
    assert only(found, UnsureOutcome) == UnsureOutcome(n_unsure=1, n_events=1)
    share = score_events([found], seed=0)["overall"].metrics["unsure_events"]
    assert (share.value, share.n) == (1.0, 1)


def test_what_an_unsure_event_asks_for_is_no_fault() -> None:
    answer = words("it must be friday already", 2.9)
    made = recorded(QUESTION, answer)
    made.events[:] = [replace(event, confidence=0.1) for event in made.events]
    scene = made.scene(made.perform(*answer))
    assert not scene.unasked
    assert not any(isinstance(one, TurnOutcome) for one in score(scene))


def test_a_set_of_placed_events_has_nothing_unsure() -> None:
    made = HandMadeDialogue()
    made.turn(1.0, 2.0, "friday")
    found = score(made.scene(made.recorded()))
    assert not any(isinstance(one, UnsureOutcome) for one in found)
    assert score_events([found], seed=0)["overall"].metrics["unsure_events"].value is None
