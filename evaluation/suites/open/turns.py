"""Open turns: when to speak and when not, whatever the words.

In open speech no words are right, so timing alone counts: a turn is taken within 0.8 s of its end,
a pause is none, the agent falls silent when it is interrupted and goes on through a backchannel.
Sound counts where a detector of speech hears any in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import PAUSE, USER_BACKCHANNEL
from microturn.evaluation.scoring.activity import longest_gap, merge
from microturn.evaluation.scoring.events import (
    score_backchannel,
    score_silence,
    score_stop,
    score_turn,
)
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.scoring.wordless import wordless
from microturn.evaluation.suites.credit import told_apart
from microturn.evaluation.suites.statistics import Estimate, median, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

NEAR_S: Final = 0.5  # an agent between two words speaks

Values = list[float]


def observe(scored: ScoredDialogue) -> Observations:
    """Score every event by its timing: 1 as it should be, 0 otherwise; latencies in seconds.

    A name with `clean_` before it counts only what nothing unasked stands beside.
    """
    scored = wordless(scored)
    found: Observations = {name: [] for name in (*_SHARES, *_CLEAN, *_MEDIANS)}
    for event in scored.dialogue.events:
        if event.confidence < scored.windows.min_confidence:
            continue
        if event.type == PAUSE:
            _pause(scored, event, found)
        elif event.act in _BY_ACT:
            _BY_ACT[event.act](scored, event, found)
    return found


def _turn(scored: ScoredDialogue, event: EventLabel, found: Mapping[str, Values]) -> None:
    outcome = score_turn(scored, event)
    found["taken_in_time"].append(outcome.in_window)
    found["clean_taken_in_time"].append(outcome.in_window and scored.clean(event))
    found["early_replies"].append(outcome.early)
    if outcome.latency_s is not None and outcome.latency_s >= 0:
        found["turn_latency_s"].append(outcome.latency_s)


def _pause(scored: ScoredDialogue, event: EventLabel, found: Mapping[str, Values]) -> None:
    """A false start is speech that begins in a pause; what was begun before is another fault."""
    start_s, end_s = event.window_s or (event.start_s, event.end_s)
    begun = any(start_s <= onset < end_s for onset, _ in scored.utterances)
    found["false_starts"].append(begun and not score_silence(scored, event).silent)


def _stop(scored: ScoredDialogue, event: EventLabel, found: Mapping[str, Values]) -> None:
    outcome = score_stop(scored, event)
    found["stopped_in_time"].append(outcome.in_time)
    found["clean_stopped_in_time"].append(outcome.in_time and scored.clean(event))
    if outcome.latency_s is not None:
        found["stop_latency_s"].append(outcome.latency_s)


def _resume(scored: ScoredDialogue, event: EventLabel, found: Mapping[str, Values]) -> None:
    """Speaking when it began, and until shortly after it no longer break than the recording."""
    answer = scored.answer_during(event.start_s)
    recorded = [] if answer is None else [(w.start_s, w.end_s) for w in answer.recorded]
    last_s = max((end_s for _, end_s in recorded), default=scored.dialogue.duration_s)
    span = event.start_s, min(event.end_s + 2 * scored.windows.break_s, last_s)
    speaking = scored.speaking_near(event.start_s, before_s=NEAR_S, after_s=NEAR_S)
    own_gap_s = longest_gap(merge(recorded, 0.0), *span) if recorded else 0.0
    gap_s = longest_gap(scored.runs, *span)
    went_on = speaking and gap_s <= own_gap_s + scored.windows.break_s
    if event.type == USER_BACKCHANNEL:
        found["went_on"].append(went_on)
        found["clean_went_on"].append(went_on and scored.clean(event))
    else:
        found["went_on_beside_others"].append(went_on)


def _listen(scored: ScoredDialogue, event: EventLabel, found: Mapping[str, Values]) -> None:
    found["backchannels_given"].append(score_backchannel(scored, event).given)


_BY_ACT: Final[Mapping[str, Callable[[ScoredDialogue, EventLabel, Mapping[str, Values]], None]]] = {
    "respond": _turn,
    "stop": _stop,
    "resume": _resume,
    "backchannel": _listen,
}
_SHARES: Final[Mapping[str, str]] = {
    "taken_in_time": "turns to which a reply begins within 0.8 s of their end, whatever it says",
    "false_starts": "pauses of the user in which the agent begins to speak (lower is better)",
    "early_replies": "turns into whose last words it speaks (lower is better)",
    "stopped_in_time": "interruptions: was speaking, and quiet within 0.8 s of the onset",
    "went_on": "backchannels: was speaking, and no break from their onset on",
    "went_on_beside_others": "the same for side talk and distant voices",
    "backchannels_given": "listening points: something short within 1 s",
}
_MEDIANS: Final[Mapping[str, str]] = {
    "turn_latency_s": "median from the turn's end to the reply's onset",
    "stop_latency_s": "median from the onset of an interruption to silence",
}
_CLEAN: Final = ("clean_taken_in_time", "clean_stopped_in_time", "clean_went_on")


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Shares and medians over all events; `credit` tells both pairs of opposites apart."""
    names = (*_SHARES, *_CLEAN, *_MEDIANS)
    values = {name: [value for one in dialogues for value in one[name]] for name in names}
    shares = {name: share([bool(v) for v in values[name]]) for name in (*_SHARES, *_CLEAN)}
    starts = share([not value for value in values["false_starts"]])
    pairs = (
        told_apart(shares["clean_taken_in_time"], starts),
        told_apart(shares["clean_stopped_in_time"], shares["clean_went_on"]),
    )
    known: list[Estimate] = [pair for pair in pairs if pair is not None]
    return {
        CREDIT: min(known) if len(known) == len(pairs) else None,
        **{name: shares[name] for name in _SHARES},
        **{name: median(values[name]) for name in _MEDIANS},
    }


SUITE: Final = Suite(
    name="open_turns",
    asks="the agent takes turns, not pauses; it stops, and goes on through backchannels",
    title_note=(
        "Whole recordings of people who are in no training set, as users and as agents: one asks "
        "to be read to and breaks in, or tells something with pauses. Timing alone is scored, "
        "never words. Recordings are of a voice game: acted, one person a role."
    ),
    observe=observe,
    measure=measure,
    is_twin=False,
    by_speech=True,
    oracle_note="The detector of speech hears none in one of the recorded replies.",
    n_dialogues=32,
    meanings={
        CREDIT: "the lower of turns taken + pauses left - 1, and stopped + went on - 1, with "
        "nothing unasked: who does one of two opposite things always gets 0",
        **_SHARES,
        **_MEDIANS,
    },
)
