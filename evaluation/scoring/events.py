"""Scores of single events against what they expect: pure functions of a `ScoredDialogue`.

Times are seconds on the wall clock of the dialogue, latencies seconds after their event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from microturn.datagen.labels.dialogue import EventLabel, word_list
from microturn.datagen.labels.event_types import RESULT, event_type
from microturn.evaluation.scoring.activity import longest_gap
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.answers import WINDOW_ACTS, Answer, delivery_of, stopped_by
from microturn.evaluation.scoring.continuation import first_group, goes_on, n_left, next_disturbance
from microturn.evaluation.scoring.moments import after, before, lead, same, within
from microturn.evaluation.scoring.outcomes import (
    BackchannelOutcome,
    CueOutcome,
    DelegationOutcome,
    EventOutcome,
    HeardOutcome,
    IdleOutcome,
    Outcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    SoundOutcome,
    StopOutcome,
    TurnOutcome,
    UnsureOutcome,
)
from microturn.evaluation.scoring.saying import Saying, is_written
from microturn.evaluation.scoring.scene import ScoredDialogue

# An agent that counts is "speaking" at an event also when the event falls between two words.
_WORD_GAP_S = 0.5
_MAX_BACKCHANNEL_S = 1.0  # an utterance of a second and more takes the floor
_SETTLE_S = 0.4  # nor has one that is two micro-turns behind the recording not begun


def score(scored: ScoredDialogue) -> list[Outcome]:
    """Outcomes of every event that expects something, and one for the silences between them.

    Events of too little confidence are counted alone; the agent may still do what they expect.
    """
    asking = [event for event in scored.dialogue.events if event.act]
    outcomes: list[Outcome] = [outcome for _, outcome in event_outcomes(scored)]
    if any(event.confidence < 1 for event in asking):
        n_unsure = len(asking) - len(outcomes)
        outcomes.append(UnsureOutcome(n_unsure=n_unsure, n_events=len(asking)))
    outcomes.append(score_idle(scored))
    if scored.trace.heard is not None:
        outcomes.append(score_heard(scored))
    if scored.saying is not None:
        outcomes.append(score_sound(scored.saying, len(scored.written)))
    return outcomes


def event_outcomes(scored: ScoredDialogue) -> list[tuple[EventLabel, EventOutcome]]:
    """Every event that expects something and is sure enough to be scored, with its outcome."""
    return [
        (event, replace(score_event(scored, event), clean=scored.clean(event)))
        for event in scored.dialogue.events
        if event.act and event.confidence >= scored.windows.min_confidence
    ]


def score_event(scored: ScoredDialogue, event: EventLabel) -> EventOutcome:
    """Return the outcome of one event; raises ValueError for an act without a score."""
    if event.type == RESULT:
        return score_result(scored, event)
    try:
        scorer = _SCORERS[event.act]
    except KeyError:
        raise ValueError(
            f"event {event.type} at {event.start_s:.2f} s expects {event.act!r}, which has no "
            f"score, only {', '.join(_SCORERS)}; add one to evaluation/scoring/events.py"
        ) from None
    return scorer(scored, event)


def score_turn(scored: ScoredDialogue, event: EventLabel) -> TurnOutcome:
    answer = _answer(scored, event)
    windows = scored.windows
    interruptions = [
        other
        for other in scored.dialogue.events
        if other.act == "stop" and same(other.start_s, event.start_s)
    ]
    interrupts = bool(interruptions)
    # Until it has had its time to stop, what an interrupted agent says is no reply.
    deaf_until_s = event.start_s + (windows.stop_s if interrupts else 0.0)
    starts = [start for start, _ in scored.utterances if after(start, event.start_s)]
    said = {start for start, _ in scored.said_utterances}
    # What is said over the user because it is asked for there is no early reply.
    earliest_s = answer.earliest_s
    starts = [s for s in starts if not before(s, earliest_s) or not _is_due(scored, s, event)]
    early = [s for s in starts if deaf_until_s <= s and before(s, earliest_s)]
    until_s = min(
        answer.latest_s - windows.onset_s + windows.late_reply_s, scored.dialogue.duration_s
    )
    replies = [s for s in starts if s in said and not before(s, earliest_s) and s <= until_s]
    from_s = lead(early[0]) if early and not replies else answer.earliest_s
    words = scored.words_of(answer, from_s=from_s)
    onset = min(replies, default=None)
    if interrupts:
        onset = _reply_over_rest(scored, answer, words, onset)
    latency_s = None if onset is None else max(onset - event.end_s, 0.0)
    in_window = onset is not None and not after(onset, answer.latest_s)
    if onset is None and early:
        latency_s = early[-1] - event.end_s
    right, n_errors, n_expected = _judge(answer, [word.text for word in words])
    return TurnOutcome(
        latency_s=latency_s,
        in_window=in_window,
        early=bool(early),
        right=right,
        n_errors=n_errors,
        n_expected=n_expected,
        after_interruption=any(
            event_type(other.type).suite == "interruption" for other in interruptions
        ),
        said=" ".join(word.text for word in words),
        trigger=event.type,
        refused=event.act == "refuse",
    )


def score_stop(scored: ScoredDialogue, event: EventLabel) -> StopOutcome:
    """Silence lasting `stopped_for_s`, or the onset of the answer to what interrupted."""
    windows = scored.windows
    onset_s = event.start_s
    speaking = scored.speaking_near(onset_s, before_s=_WORD_GAP_S, after_s=_SETTLE_S)
    if not speaking:
        return StopOutcome(speaking=False, latency_s=None, in_time=False, trigger=event.type)
    answered_s = _answer_onset_after(scored, event)
    quiet_from_s = onset_s
    for start, end in scored.runs:
        if end <= onset_s or start >= answered_s:
            continue
        if not before(start - quiet_from_s, windows.stopped_for_s):
            break
        quiet_from_s = min(end, answered_s)
    talks_on = quiet_from_s > scored.dialogue.duration_s - scored.dialogue.micro_turn_s
    latency_s = None if talks_on else quiet_from_s - onset_s
    in_time = latency_s is not None and not after(quiet_from_s, stopped_by(event, windows))
    return StopOutcome(
        speaking=True,
        latency_s=latency_s,
        in_time=in_time,
        spoke_rightly=_spoke_rightly(scored, onset_s),
        trigger=event.type,
    )


def _spoke_rightly(scored: ScoredDialogue, moment_s: float) -> bool:
    """Whether the agent has begun the answer that the recorded one is giving at a moment."""
    answer = scored.answer_during(moment_s)
    if answer is None or answer.is_open:
        return answer is not None
    words = scored.words_between(lead(answer.earliest_s), moment_s + _SETTLE_S)
    texts = tuple(word.text for word in words)
    return bool(texts) and texts == answer.expected[: len(texts)]


def score_resume(scored: ScoredDialogue, event: EventLabel) -> ResumeOutcome:
    """The agent was speaking, said what was left to say, and left no hole in it."""
    answer = scored.answer_during(event.start_s)
    speaking = scored.speaking_near(event.start_s, before_s=_WORD_GAP_S, after_s=_SETTLE_S)
    limit_s = next_disturbance(scored, event)
    words = scored.words_between(event.start_s, limit_s)
    gap_s, words_right = 0.0, speaking
    if answer is not None and answer.expected:
        earlier = scored.words_between(answer.earliest_s, event.start_s)
        words = first_group(scored, words, at_least=n_left(answer, event.start_s, limit_s))
        words_right = goes_on(answer, earlier, words, event.start_s, limit_s)
    if words:
        gap_s = longest_gap(scored.runs, event.start_s, scored.onset_of(words[-1]))
    went_on = speaking and words_right and gap_s <= scored.windows.break_s
    return ResumeOutcome(
        trigger=event.type,
        speaking=speaking,
        longest_gap_s=gap_s,
        words_right=words_right,
        went_on=went_on,
    )


def score_silence(scored: ScoredDialogue, event: EventLabel) -> SilenceOutcome:
    start_s, end_s = event.window_s or (event.start_s, event.end_s)
    speech_s = sum(end - start for start, end in scored.outside_floors(start_s, end_s))
    silent = speech_s * 1000 <= scored.windows.spurious_ms
    return SilenceOutcome(trigger=event.type, speech_s=speech_s, silent=silent)


def score_cue(scored: ScoredDialogue, event: EventLabel) -> CueOutcome:
    answer = _answer(scored, event)
    words = scored.words_of(answer, from_s=answer.begins_s)
    onset = scored.onset_of(words[0]) if words else None
    right = tuple(word.text for word in words) == answer.expected
    timely = onset is not None and (within(onset, answer.earliest_s, answer.latest_s))
    return CueOutcome(
        onset_s=None if onset is None else onset - answer.earliest_s,
        right=right,
        in_window=right and timely,
        trigger=event.type,
    )


def score_backchannel(scored: ScoredDialogue, event: EventLabel) -> BackchannelOutcome:
    """Something short within the window: longer speech takes the floor instead of leaving it."""
    answer = _answer(scored, event)
    onset = scored.activity.onset_in(answer.earliest_s, answer.latest_s)
    if onset is None:
        return BackchannelOutcome(onset_s=None, given=False, right=False, trigger=event.type)
    end_s = next(end for start, end in scored.utterances if after(end, onset))
    words = scored.words_between(lead(onset), end_s)
    said = any(is_written(word.text) for word in words) or scored.saying is None
    given = said and not after(end_s - onset, _MAX_BACKCHANNEL_S)
    right = given and tuple(word.text for word in words) == answer.expected
    return BackchannelOutcome(
        onset_s=onset - answer.earliest_s, given=given, right=right, trigger=event.type
    )


def score_delegation(scored: ScoredDialogue, event: EventLabel) -> DelegationOutcome:
    answer = _answer(scored, event)
    begins_s = lead(event.end_s)
    until_s = event.end_s + scored.windows.delegate_s
    times = [t for t in scored.trace.delegates_s if begins_s <= t and not after(t, until_s)]
    acknowledged: bool | None = None
    if answer.expected:
        acknowledged = bool(_judge(answer, [word.text for word in scored.words_of(answer)])[0])
    return DelegationOutcome(
        latency_s=max(times[0] - event.end_s, 0.0) if times else None,
        delegated=bool(times),
        acknowledged=acknowledged,
        trigger=event.type,
    )


def score_result(scored: ScoredDialogue, event: EventLabel) -> ResultOutcome:
    delivery = delivery_of(event, scored.trace.deliveries)
    answer = scored.answer_to(event)
    if delivery is None or answer is None:
        return ResultOutcome(delivered=False, right=False, latency_s=None, spoken=False)
    words = scored.words_between(answer.earliest_s, answer.limit_s)
    at = _find(answer.expected, [word.text for word in words])
    if at is None:
        return ResultOutcome(delivered=True, right=False, latency_s=None, spoken=False)
    onset = scored.onset_of(words[at])
    return ResultOutcome(
        delivered=True,
        right=True,
        latency_s=max(onset - delivery.time_s, 0.0),
        spoken=not after(onset, answer.latest_s),
        alone=_is_answer(scored.words_of(answer, from_s=words[at].start_s), answer),
    )


def score_idle(scored: ScoredDialogue) -> IdleOutcome:
    """Micro-turns that no answer explains, and speech in them."""
    micro_turn_s, silences = scored.dialogue.micro_turn_s, scored.due_silences
    due = [(k * micro_turn_s, (k + 1) * micro_turn_s) for k in silences]
    onsets = [start for start, _ in scored.utterances if any(a <= start < b for a, b in due)]
    n_silent = len(silences)
    return IdleOutcome(
        n_silent=n_silent,
        n_spurious=sum(silences.values()),
        n_onsets=len(onsets),
        n_false_delegates=len(scored.false_delegates),
        silent_s=n_silent * micro_turn_s,
    )


def score_heard(scored: ScoredDialogue) -> HeardOutcome:
    """Word errors of the user's transcript over the whole dialogue; background is not the user."""
    heard = [text for word in scored.trace.heard or () for text in word_list(word.text)]
    expected = [word.text for word in scored.dialogue.user_words]
    return HeardOutcome(n_errors=word_errors(heard, expected), n_expected=len(expected))


def score_sound(saying: Saying, n_written: int) -> SoundOutcome:
    """Written words that the sound says; those that a reason to stop swallowed are left out."""
    n_right = len(saying.sounds)
    return SoundOutcome(n_right=n_right, n_judged=n_written - saying.n_broken)


def word_errors(words: Sequence[str], expected: Sequence[str]) -> int:
    """Edit distance in words: substitutions, insertions and deletions."""
    row = list(range(len(words) + 1))
    for i, want in enumerate(expected, start=1):
        diagonal, row[0] = row[0], i
        for j, have in enumerate(words, start=1):
            substituted = diagonal + (want != have)
            diagonal = row[j]
            row[j] = min(substituted, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def _answer(scored: ScoredDialogue, event: EventLabel) -> Answer:
    answer = scored.answer_to(event)
    assert answer is not None, event
    return answer


def _judge(answer: Answer, words: Sequence[str]) -> tuple[bool | None, int, int]:
    """Right, word errors, expected words. What was disturbed is judged as far as it came."""
    if answer.is_open:
        return None, 0, 0
    if not answer.recorded or (answer.complete and answer.cut_s is None):
        errors = word_errors(words, answer.expected)
        return errors == 0, errors, len(answer.expected)
    if not answer.n_recorded:
        return None, 0, 0
    # The agent may be one word ahead of or behind the recorded one when it is disturbed; one
    # word beyond all that was recorded of a cut answer cannot be judged.
    n = min(max(len(words), answer.n_recorded - 1, 1), answer.n_recorded + 1)
    expected = answer.expected[:n]
    judged = words[: len(expected)] if len(words) <= n else words
    errors = word_errors(judged, expected)
    return errors == 0, errors, len(expected)


def _is_due(scored: ScoredDialogue, moment_s: float, event: EventLabel) -> bool:
    """Whether another event asks for speech at a moment, whoever speaks."""
    return any(
        within(moment_s, answer.earliest_s, answer.latest_s)
        for answer in scored.answers
        if answer.event is not event and answer.event.act in WINDOW_ACTS
    )


def _reply_over_rest(
    scored: ScoredDialogue, answer: Answer, words: Sequence[SpokenWord], onset: float | None
) -> float | None:
    """The reply of an agent that stopped so shortly before that no silence lies between."""
    if _is_answer(words, answer):
        sounds_s = scored.onset_of(words[0])
        return sounds_s if onset is None else min(onset, sounds_s)
    return onset


def _is_answer(words: Sequence[SpokenWord], answer: Answer) -> bool:
    """Whether these are the expected words and nothing else: no chance hit of one that talks on."""
    return bool(words) and tuple(word.text for word in words) == answer.expected


def _answer_onset_after(scored: ScoredDialogue, event: EventLabel) -> float:
    """When the agent begins to answer what interrupted it; infinity if it never does."""
    for answer in scored.answers:
        if answer.event.act == "respond" and same(answer.event.start_s, event.start_s):
            words = scored.words_of(answer)
            if _is_answer(words, answer):
                return scored.onset_of(words[0])
    return float("inf")


def _find(expected: Sequence[str], words: Sequence[str]) -> int | None:
    """Find where the expected words stand, one after the other."""
    n = len(expected)
    for at in range(len(words) - n + 1):
        if tuple(words[at : at + n]) == tuple(expected):
            return at
    return None


_SCORERS: Final[Mapping[str, Callable[[ScoredDialogue, EventLabel], EventOutcome]]] = {
    "respond": score_turn,
    "refuse": score_turn,
    "say": score_cue,
    "backchannel": score_backchannel,
    "delegate": score_delegation,
    "stop": score_stop,
    "resume": score_resume,
    "stay_silent": score_silence,
}
