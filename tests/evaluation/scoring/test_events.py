"""Outcomes of single events on hand-made timelines."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.evaluation.scoring.agent_output import Delivery, SpokenWord
from microturn.evaluation.scoring.events import score, word_errors
from microturn.evaluation.scoring.outcomes import (
    CueOutcome,
    DelegationOutcome,
    HeardOutcome,
    IdleOutcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    StopOutcome,
    TurnOutcome,
)
from support.hand_made import HandMadeDialogue

COUNT = "three four five six seven eight nine ten"


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def only(kind: type, outcomes: list[Any]) -> Any:
    found = [outcome for outcome in outcomes if isinstance(outcome, kind)]
    assert len(found) == 1, outcomes
    return found[0]


# --- turns -------------------------------------------------------------------------------------
def test_a_prompt_right_reply(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    outcomes = score(script.scene(script.perform(word("five", 2.0))))
    turn = only(TurnOutcome, outcomes)
    assert turn.latency_s == pytest.approx(0.3, abs=0.011)
    assert (turn.in_window, turn.early, turn.right, turn.said) == (True, False, True, "five")
    assert only(IdleOutcome, outcomes).n_spurious == 0


def test_no_reply(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    turn = only(TurnOutcome, score(script.scene(script.perform())))
    assert turn.latency_s is None
    assert (turn.in_window, turn.right, turn.n_errors) == (False, False, 1)


def test_a_reply_before_the_end_has_negative_latency(script: HandMadeDialogue) -> None:
    script.turn(1.0, 2.0, "five")
    turn = only(TurnOutcome, score(script.scene(script.perform(word("five", 1.6, 0.6)))))
    assert turn.latency_s == pytest.approx(-0.4, abs=0.011)
    assert (turn.in_window, turn.early, turn.right) == (False, True, True)


def test_a_false_start_before_a_prompt_reply_is_early_and_in_the_window(
    script: HandMadeDialogue,
) -> None:
    script.turn(1.0, 2.0, "five")
    said = script.perform(word("one", 1.2, 0.3), word("five", 2.3))
    turn = only(TurnOutcome, score(script.scene(said)))
    assert turn.latency_s == pytest.approx(0.3, abs=0.011)
    assert (turn.in_window, turn.early, turn.right) == (True, True, True)


def test_two_replies_are_right_once_and_spurious_once(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    outcomes = score(script.scene(script.perform(word("five", 2.0), word("five", 5.0))))
    assert only(TurnOutcome, outcomes).right
    idle = only(IdleOutcome, outcomes)
    assert (idle.n_spurious, idle.n_onsets) == (2, 1)


def test_two_replies_at_once_are_wrong(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    turn = only(
        TurnOutcome, score(script.scene(script.perform(word("five", 2.0), word("five", 2.4))))
    )
    assert (turn.right, turn.n_errors) == (False, 1)


def test_a_late_reply_is_right_and_not_spurious(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    outcomes = score(script.scene(script.perform(word("five", 3.0))))
    turn = only(TurnOutcome, outcomes)
    assert turn.latency_s == pytest.approx(1.3, abs=0.011)
    assert (turn.in_window, turn.right) == (False, True)
    assert only(IdleOutcome, outcomes).n_spurious == 0


def test_the_edges_of_the_window(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    for onset_s, inside in ((1.7, True), (2.5, True), (2.52, False)):
        turn = only(TurnOutcome, score(script.scene(script.perform(word("five", onset_s)))))
        assert turn.in_window == inside, onset_s


def test_text_without_sound_says_nothing(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    silent = replace(script.perform(word("five", 2.0)), audio=np.zeros(256_000, np.float32))
    turn = only(TurnOutcome, score(script.scene(silent)))
    assert (turn.latency_s, turn.right) == (None, False)


def test_sound_without_text_is_a_reply_with_no_right_word(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    mumbled = replace(script.perform(word("five", 2.0)), words=())
    turn = only(TurnOutcome, score(script.scene(mumbled)))
    assert (turn.in_window, turn.right) == (True, False)


def test_words_are_compared_normalised(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    assert only(TurnOutcome, score(script.scene(script.perform(word("Five.", 2.0))))).right


def test_the_next_turn_has_its_own_words(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.5, "five")
    script.turn(2.5, 3.0, "six")
    outcomes = score(script.scene(script.perform(word("five", 1.8), word("six", 3.4))))
    assert [o.right for o in outcomes if isinstance(o, TurnOutcome)] == [True, True]


def test_a_reply_that_leads_its_sound_by_a_micro_turn_is_heard_as_late_as_it_sounds(
    script: HandMadeDialogue,
) -> None:
    script.turn(1.0, 1.7, "five")
    sound = script.perform(word("five", 2.2))
    early_text = replace(sound, words=(word("five", 2.0),))
    turn = only(TurnOutcome, score(script.scene(early_text)))
    assert turn.latency_s == pytest.approx(0.5, abs=0.011)
    assert turn.right


# --- interruptions -----------------------------------------------------------------------------
def interrupted(script: HandMadeDialogue) -> HandMadeDialogue:
    script.turn(0.5, 1.1, COUNT, reply_s=0.3)  # words at 1.4, 1.8, 2.2, 2.6, 3.0, ...
    script.interrupt(2.9, 3.9)  # recorded: cut at 3.4
    script.turn(2.9, 3.9, "two")
    return script


def counted(*, until_s: float, start_s: float = 1.4) -> list[SpokenWord]:
    words = []
    for i, text in enumerate(COUNT.split()):
        at = start_s + 0.4 * i
        if at < until_s - 1e-6:
            words.append(word(text, at, min(0.36, until_s - at)))
    return words


def test_the_recording_stops_and_answers(script: HandMadeDialogue) -> None:
    outcomes = score(interrupted(script).scene(script.recorded()))
    stop = only(StopOutcome, outcomes)
    assert stop.latency_s == pytest.approx(0.46, abs=0.05)
    assert stop.in_time
    first, second = (o for o in outcomes if isinstance(o, TurnOutcome))
    assert first.right
    assert not first.after_interruption
    assert (second.right, second.in_window, second.after_interruption) == (True, True, True)
    assert only(IdleOutcome, outcomes).n_spurious == 0


def test_stopping_too_late(script: HandMadeDialogue) -> None:
    interrupted(script)
    spoken = [*counted(until_s=3.9), word("two", 4.5)]
    stop = only(StopOutcome, score(script.scene(script.perform(*spoken))))
    assert stop.latency_s == pytest.approx(1.0, abs=0.06)
    assert not stop.in_time


def test_never_stopping(script: HandMadeDialogue) -> None:
    interrupted(script)
    spoken = [word("la", 0.4 * i, 0.4) for i in range(40)]
    stop = only(StopOutcome, score(script.scene(script.perform(*spoken))))
    assert (stop.speaking, stop.latency_s, stop.in_time) == (True, None, False)


def test_an_agent_that_was_silent_has_not_stopped(script: HandMadeDialogue) -> None:
    stop = only(StopOutcome, score(interrupted(script).scene(script.perform())))
    assert (stop.speaking, stop.latency_s, stop.in_time) == (False, None, False)


def test_a_word_gap_is_no_stop(script: HandMadeDialogue) -> None:
    interrupted(script)
    spoken = [*counted(until_s=3.0), word("seven", 3.3), word("eight", 3.9)]
    stop = only(StopOutcome, score(script.scene(script.perform(*spoken))))
    assert stop.latency_s == pytest.approx(1.36, abs=0.05)


def test_a_prompt_answer_right_after_the_cut_is_no_failure_to_stop(
    script: HandMadeDialogue,
) -> None:
    script.turn(0.5, 1.1, COUNT, reply_s=0.3)
    script.interrupt(2.9, 3.2)
    script.turn(2.9, 3.2, "two", reply_s=0.3)
    spoken = [*counted(until_s=3.4), word("two", 3.5)]
    outcomes = score(script.scene(script.perform(*spoken)))
    assert only(StopOutcome, outcomes).in_time
    answer = next(o for o in outcomes if isinstance(o, TurnOutcome) and o.after_interruption)
    assert (answer.in_window, answer.right) == (True, True)


def test_one_word_ahead_or_behind_at_the_interruption_is_right(script: HandMadeDialogue) -> None:
    interrupted(script)
    for shift_s in (-0.4, 0.0, 0.4):
        spoken = [*counted(until_s=3.4, start_s=1.4 + shift_s), word("two", 4.2)]
        outcomes = score(script.scene(script.perform(*spoken)))
        count = next(o for o in outcomes if isinstance(o, TurnOutcome) and not o.after_interruption)
        assert count.right, shift_s


def test_miscounting_before_the_interruption_is_wrong(script: HandMadeDialogue) -> None:
    interrupted(script)
    spoken = [word("three", 1.4), word("five", 1.8), word("six", 2.2), word("two", 4.2)]
    outcomes = score(script.scene(script.perform(*spoken)))
    count = next(o for o in outcomes if isinstance(o, TurnOutcome) and not o.after_interruption)
    assert not count.right


# --- going on ----------------------------------------------------------------------------------
def backchannelled(script: HandMadeDialogue) -> HandMadeDialogue:
    script.turn(0.5, 1.1, COUNT, reply_s=0.3)
    script.event("user_backchannel", 2.5, 2.9, "resume", window=(2.5, 3.9))
    return script


def test_going_on(script: HandMadeDialogue) -> None:
    outcomes = score(backchannelled(script).scene(script.recorded()))
    resume = only(ResumeOutcome, outcomes)
    assert (resume.speaking, resume.words_right, resume.went_on) == (True, True, True)
    assert resume.longest_gap_s < 0.1
    assert only(TurnOutcome, outcomes).right


def test_stopping_at_a_backchannel(script: HandMadeDialogue) -> None:
    backchannelled(script)
    outcomes = score(script.scene(script.perform(*counted(until_s=2.6))))
    resume = only(ResumeOutcome, outcomes)
    assert (resume.speaking, resume.words_right, resume.went_on) == (True, False, False)
    assert only(TurnOutcome, outcomes).right  # what came before was right


def test_a_break_in_going_on(script: HandMadeDialogue) -> None:
    backchannelled(script)
    rest = counted(until_s=99)[4:]
    late = [replace(w, start_s=w.start_s + 1.0, end_s=w.end_s + 1.0) for w in rest]
    spoken = [*counted(until_s=99)[:4], *late]
    resume = only(ResumeOutcome, score(script.scene(script.perform(*spoken))))
    assert resume.longest_gap_s > 0.9
    assert resume.words_right
    assert not resume.went_on


def test_skipping_a_word_is_not_going_on(script: HandMadeDialogue) -> None:
    backchannelled(script)
    spoken = counted(until_s=99)
    skipped = [replace(w, text=t.text) for w, t in zip(spoken[3:], spoken[4:], strict=False)]
    resume = only(ResumeOutcome, score(script.scene(script.perform(*spoken[:3], *skipped))))
    assert not resume.words_right


def test_going_on_a_micro_turn_late_is_fine(script: HandMadeDialogue) -> None:
    backchannelled(script)
    spoken = counted(until_s=99, start_s=1.6)
    assert only(ResumeOutcome, score(script.scene(script.perform(*spoken)))).went_on


def test_a_silent_agent_does_not_go_on(script: HandMadeDialogue) -> None:
    resume = only(ResumeOutcome, score(backchannelled(script).scene(script.perform())))
    assert (resume.speaking, resume.went_on) == (False, False)


# --- silence -----------------------------------------------------------------------------------
def test_silence_through_background_speech(script: HandMadeDialogue) -> None:
    script.event("background_speech", 3.0, 5.0, "stay_silent", window=(3.0, 5.8))
    assert only(SilenceOutcome, score(script.scene(script.perform()))).silent
    talking = only(SilenceOutcome, score(script.scene(script.perform(word("five", 5.4)))))
    assert not talking.silent
    assert talking.speech_s == pytest.approx(0.36, abs=0.02)
    later = only(SilenceOutcome, score(script.scene(script.perform(word("five", 6.0)))))
    assert later.silent


def test_an_answer_that_is_due_does_not_break_a_silence(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "five")
    script.event("noise", 1.5, 3.0, "stay_silent", window=(1.5, 3.0))
    assert only(SilenceOutcome, score(script.scene(script.recorded()))).silent


def test_replying_in_a_pause(script: HandMadeDialogue) -> None:
    script.event("pause", 1.3, 2.1, "stay_silent", window=(1.3, 2.1))
    script.turn(1.0, 2.6, "five")
    outcomes = score(script.scene(script.perform(word("five", 1.7))))
    assert not only(SilenceOutcome, outcomes).silent
    assert only(TurnOutcome, outcomes).early


# --- timed cues --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start_s", "hit"),
    [(4.7, False), (4.8, True), (5.0, True), (6.0, True), (6.1, False), (2.5, False)],
)
def test_the_window_of_a_cue(script: HandMadeDialogue, start_s: float, hit: bool) -> None:
    script.cue(1.0, 2.0, "monday", 5.0)
    cue = only(CueOutcome, score(script.scene(script.perform(word("monday", start_s)))))
    assert cue.in_window == hit
    assert cue.right


def test_a_wrong_word_or_none_at_a_cue(script: HandMadeDialogue) -> None:
    script.cue(1.0, 2.0, "monday", 5.0)
    wrong = only(CueOutcome, score(script.scene(script.perform(word("friday", 5.0)))))
    assert (wrong.right, wrong.in_window) == (False, False)
    none = only(CueOutcome, score(script.scene(script.perform())))
    assert (none.onset_s, none.right, none.in_window) == (None, False, False)


def test_saying_it_at_once_and_again_at_its_time_is_no_hit(script: HandMadeDialogue) -> None:
    script.cue(1.0, 2.0, "monday", 5.0)
    spoken = script.perform(word("monday", 2.3), word("monday", 5.0))
    assert not only(CueOutcome, score(script.scene(spoken))).in_window


# --- delegation --------------------------------------------------------------------------------
def test_delegation_and_result(script: HandMadeDialogue) -> None:
    script.delegation(1.0, 2.0, arrives_s=4.3, result="eleven")
    outcomes = score(script.scene(script.recorded()))
    asked, result = only(DelegationOutcome, outcomes), only(ResultOutcome, outcomes)
    assert (asked.delegated, asked.acknowledged) == (True, True)
    assert asked.latency_s == pytest.approx(0.2)
    assert (result.delivered, result.right, result.spoken) == (True, True, True)
    assert result.latency_s == pytest.approx(0.4, abs=0.011)
    assert only(IdleOutcome, outcomes).n_spurious == 0


def test_a_guessed_result_is_none(script: HandMadeDialogue) -> None:
    script.delegation(1.0, 2.0, arrives_s=4.3, result="eleven")
    guessed = replace(script.recorded(), delegates_s=(), deliveries=())
    outcomes = score(script.scene(guessed))
    assert not only(DelegationOutcome, outcomes).delegated
    result = only(ResultOutcome, outcomes)
    assert (result.delivered, result.spoken) == (False, False)
    assert only(IdleOutcome, outcomes).n_spurious > 0


def test_a_result_that_came_later_may_be_said_later(script: HandMadeDialogue) -> None:
    script.delegation(1.0, 2.0, arrives_s=4.3, result="eleven")
    for late_s, spoken in ((1.0, True), (0.0, False)):
        delivery = Delivery(time_s=4.3 + late_s, scripted_s=4.3, text="<bg> eleven </bg>")
        said = script.perform(
            word("one", 2.2), word("moment", 2.6), word("eleven", 5.7),
            delegates_s=(2.2 + late_s,), deliveries=(delivery,),
        )  # fmt: skip
        assert only(ResultOutcome, score(script.scene(said))).spoken == spoken


@pytest.mark.parametrize(
    ("user_until_s", "said_s", "spoken"),
    [(2.0, 4.32, True), (2.0, 4.1, False), (4.48, 4.32, False), (4.48, 4.5, True)],
)
def test_a_result_may_be_said_once_it_has_arrived_and_the_user_is_silent(
    script: HandMadeDialogue, user_until_s: float, said_s: float, spoken: bool
) -> None:
    script.delegation(1.0, 2.0, arrives_s=4.3, result="eleven")
    if user_until_s > 2.0:
        script.user.append(word("well", 3.9, user_until_s - 3.9))
    delivery = Delivery(time_s=4.3, scripted_s=4.3, text="<bg> eleven </bg>")
    said = script.perform(
        word("one", 2.2), word("moment", 2.6), word("eleven", said_s),
        delegates_s=(2.2,), deliveries=(delivery,),
    )  # fmt: skip
    outcomes = score(script.scene(said))
    assert only(ResultOutcome, outcomes).spoken == spoken
    if spoken:
        assert only(IdleOutcome, outcomes).n_spurious == 0


def test_delegates_that_nobody_asked_for_are_counted(script: HandMadeDialogue) -> None:
    script.delegation(1.0, 2.0, arrives_s=4.3, result="eleven")
    often = replace(script.recorded(), delegates_s=(0.4, 2.2, 2.4, 9.0))
    assert only(IdleOutcome, score(script.scene(often))).n_false_delegates == 3


# --- the rest ----------------------------------------------------------------------------------
def test_a_dialogue_without_events_is_all_silence(script: HandMadeDialogue) -> None:
    (idle,) = score(script.scene(script.perform()))
    assert (idle.n_silent, idle.n_spurious, idle.n_onsets) == (80, 0, 0)


def test_an_agent_that_never_stops_talking_is_spurious_wherever_silence_is_due(
    script: HandMadeDialogue,
) -> None:
    script.turn(1.0, 1.7, "five")
    spoken = [word("la", 0.4 * i, 0.4) for i in range(40)]
    idle = only(IdleOutcome, score(script.scene(script.perform(*spoken))))
    assert idle.n_spurious == idle.n_silent > 60


def test_the_transcript_of_the_user_is_compared_with_what_was_said(
    script: HandMadeDialogue,
) -> None:
    script.user += [word("number", 1.0), word("five", 1.4)]
    heard = replace(script.perform(), heard=(word("number", 1.4), word("nine", 1.8)))
    outcome = only(HeardOutcome, score(script.scene(heard)))
    assert (outcome.n_errors, outcome.n_expected) == (1, 2)
    assert not [o for o in score(script.scene(script.perform())) if isinstance(o, HeardOutcome)]


words = st.lists(st.sampled_from("abc"), max_size=5)


@given(words, words)
def test_word_errors_are_a_distance(a: list[str], b: list[str]) -> None:
    assert word_errors(a, b) == word_errors(b, a)
    assert (word_errors(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= word_errors(a, b) <= max(len(a), len(b))


def test_word_errors_count_each_kind_once() -> None:
    assert word_errors(["one", "two", "three"], ["one", "three"]) == 1
    assert word_errors(["one"], ["one", "two"]) == 1
    assert word_errors(["one", "four"], ["one", "two"]) == 1
