"""The definitions of tau-voice on timelines by hand: a tick is 0.2 s, tick k begins at 0.2 k."""

from __future__ import annotations

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.interaction import Interaction, Reaction, interaction_of
from support.hand_made import HandMadeDialogue, word


def interaction(script: HandMadeDialogue, *spoken: SpokenWord) -> Interaction:
    return interaction_of(script.scene(script.perform(*spoken)))


def talk(start_s: float, end_s: float) -> SpokenWord:
    return word("alpha", start_s, end_s - start_s)


def result(reactions: list[Reaction]) -> list[tuple[bool, float | None]]:
    return [(r.good, None if r.latency_s is None else round(r.latency_s, 6)) for r in reactions]


def asked(*turns: tuple[float, float], duration_s: float = 12.0) -> HandMadeDialogue:
    script = HandMadeDialogue(duration_s=duration_s)
    for start_s, end_s in turns:
        script.event("turn", start_s, end_s, "respond", window=(end_s, end_s + 0.8))
    return script


# --- response ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("begins_s", "latency_s"),
    [(2.0, 0.2), (2.19, 0.2), (2.2, 0.4), (6.0, 4.2)],  # the turn ends in tick 8
)
def test_a_response_is_timed_from_the_first_tick_after_the_turn(
    begins_s: float, latency_s: float
) -> None:
    found = interaction(asked((1.0, 1.7)), talk(begins_s, begins_s + 0.4))
    assert result(found.response) == [(True, latency_s)]
    assert found.n_agent_interrupts == 0


def test_speech_in_the_first_tick_after_a_turn_leaves_it_uncounted() -> None:
    """As published: the agent is not silent at its end."""
    assert interaction(asked((1.0, 1.7)), talk(1.85, 2.3)).response == []


def test_a_turn_is_unanswered_if_the_user_has_to_speak_again() -> None:
    found = interaction(asked((1.0, 1.7), (4.0, 4.5)), talk(5.0, 5.4))
    assert result(found.response) == [(False, None), (True, 0.4)]


def test_a_backchannel_and_a_tic_do_not_answer_for_the_agent() -> None:
    script = asked((1.0, 1.7))
    script.event("vocal_tic", 2.0, 2.5, "stay_silent", window=(2.0, 3.3))
    found = interaction(script, talk(3.0, 3.4))
    assert result(found.response) == [(True, 1.2)]


def test_the_last_turn_counts_where_two_seconds_are_left() -> None:
    assert result(interaction(asked((1.0, 1.7), duration_s=3.8)).response) == [(False, None)]
    assert interaction(asked((1.0, 1.7), duration_s=3.6)).response == []


def test_an_agent_that_talks_into_the_silence_after_a_turn_is_not_judged_by_it() -> None:
    found = interaction(asked((1.0, 1.7)), talk(1.4, 2.6))
    assert found.response == []
    assert found.n_agent_interrupts == 1


def test_a_stop_word_expects_no_response() -> None:
    script = HandMadeDialogue()
    script.event("interruption", 2.0, 2.5, "stop", window=(2.0, 2.8))
    found = interaction(script, talk(1.0, 2.6))
    assert found.response == []
    assert result(found.yields) == [(True, 0.6)]


# --- yield ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stops_s", "expected"),
    [
        (2.3, (True, 0.4)),  # heard in tick 11, silent in tick 12
        (3.8, (True, 1.8)),
        (3.9, (False, None)),  # tick 19, the last of ten, still has sound
        (6.0, (False, None)),
    ],
)
def test_yielding_takes_at_most_two_seconds(
    stops_s: float, expected: tuple[bool, float | None]
) -> None:
    script = asked((2.05, 3.0))
    script.event("interruption", 2.05, 3.0, "stop", window=(2.05, 2.85))
    found = interaction(script, talk(1.0, stops_s))
    assert result(found.yields) == [expected]


def test_a_gap_between_words_is_no_yielding() -> None:
    script = asked((2.05, 3.0))
    script.event("interruption", 2.05, 3.0, "stop", window=(2.05, 2.85))
    found = interaction(script, talk(1.0, 2.3), talk(2.7, 4.5))
    assert result(found.yields) == [(False, None)]


def test_a_silent_agent_has_nothing_to_yield() -> None:
    found = interaction(asked((2.0, 3.0)))
    assert found.yields == []
    assert result(found.response) == [(False, None)]


# --- selectivity ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "lane"),
    [
        ("user_backchannel", "backchannel"),
        ("vocal_tic", "vocal_tic"),
        ("side_talk", "non_directed"),
    ],
)
@pytest.mark.parametrize(
    ("stops_s", "good"), [(2.7, False), (2.8, False), (2.9, True), (5.0, True)]
)
def test_an_agent_talks_on_for_a_second(kind: str, lane: str, stops_s: float, good: bool) -> None:
    script = HandMadeDialogue()
    script.event(kind, 2.0, 2.4, "resume", window=(2.0, 2.4))  # from tick 10 on, to tick 14
    found = interaction(script, talk(1.0, stops_s))
    assert result(getattr(found, lane)) == [(good, None)]
    assert found.yields == []


@pytest.mark.parametrize(
    ("kind", "lane"), [("vocal_tic", "vocal_tic"), ("side_talk", "non_directed")]
)
@pytest.mark.parametrize(
    ("begins_s", "good"),
    [(2.1, False), (3.0, False), (4.59, False), (4.6, True)],  # it ends at tick 12, + 10 ticks
)
def test_a_silent_agent_stays_silent_for_two_seconds(
    kind: str, lane: str, begins_s: float, good: bool
) -> None:
    script = HandMadeDialogue()
    script.event(kind, 2.0, 2.4, "stay_silent", window=(2.0, 3.2))
    found = interaction(script, talk(begins_s, begins_s + 0.4))
    assert result(getattr(found, lane)) == [(good, None)]
    assert found.n_agent_interrupts == 0  # nobody spoke to it


def test_a_backchannel_to_a_silent_agent_is_not_counted() -> None:
    script = HandMadeDialogue()
    script.event("user_backchannel", 2.0, 2.4, "resume", window=(2.0, 2.4))
    assert interaction(script).backchannel == []


def test_a_cough_of_somebody_else_is_not_counted() -> None:
    script = HandMadeDialogue()
    script.event("vocal_tic", 2.0, 2.4, "stay_silent", window=(2.0, 3.2), speaker="background")
    assert interaction(script, talk(2.6, 3.0)).vocal_tic == []


def test_the_answer_to_the_next_turn_does_not_answer_the_tic() -> None:
    script = asked((2.6, 3.2))
    script.event("vocal_tic", 2.0, 2.4, "stay_silent", window=(2.0, 2.6))
    found = interaction(script, talk(3.6, 4.0))
    assert result(found.vocal_tic) == [(True, None)]
    assert result(found.response) == [(True, 0.4)]


def test_the_answer_to_the_turn_before_does_not_answer_the_tic() -> None:
    script = asked((1.0, 1.7))
    script.event("vocal_tic", 1.9, 2.2, "stay_silent", window=(1.9, 2.0))
    found = interaction(script, talk(2.0, 2.4))
    assert result(found.vocal_tic) == [(True, None)]


# --- the agent interrupts ------------------------------------------------------------------------
@pytest.mark.parametrize(("begins_s", "n"), [(0.9, 0), (1.0, 1), (1.5, 1), (1.79, 1), (1.8, 0)])
def test_speech_begun_in_a_tick_of_the_user_interrupts(begins_s: float, n: int) -> None:
    found = interaction(asked((1.0, 1.7)), talk(begins_s, begins_s + 0.4))
    assert found.n_agent_interrupts == n


def test_a_cue_that_is_due_over_the_user_interrupts_nobody() -> None:
    script = HandMadeDialogue()
    script.user = [word("alpha", 2.0, 0.4), word("bravo", 2.5, 1.5)]
    script.event("spoken_cue", 2.0, 2.4, "say", answer="alpha", window=(2.4, 3.9))
    assert interaction(script, talk(2.7, 3.1)).n_agent_interrupts == 0
    script.events.clear()
    assert interaction(script, talk(2.7, 3.1)).n_agent_interrupts == 1
