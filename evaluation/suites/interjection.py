"""Interjections: the agent corrects a mistake in a recital while the user goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.activity import merge
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import said_in
from microturn.evaluation.suites.statistics import graded, mean, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

_AHEAD_S: Final = 4.0  # before a mistake the user recites for about so long
_RECITAL_GAP_S: Final = 0.5  # a longer silence ends a recital


def observe(scored: ScoredDialogue) -> Observations:
    """Score every recital, with a mistake or flawless."""
    return {
        "recitals": [
            _flawless(scored, event) if event.act == "stay_silent" else _mistake(scored, event)
            for event in scored.dialogue.of_type("interjection")
        ]
    }


def _mistake(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    """Score a correction: the expected words, begun in the window, and nothing else around it."""
    assert event.window_s is not None, event
    start_s, due_s = event.window_s
    begun_s = max([start_s - _AHEAD_S, *_ends_before(scored, event)])
    said = said_in(scored, begun_s, due_s)
    onset = next((w.onset_s for w in said if (w.text,) == event.expected), None)
    hit = onset is not None and onset >= start_s
    spoken = merge([(w.start_s, w.end_s) for w in scored.dialogue.user_words], _RECITAL_GAP_S)
    over = onset is not None and hit and any(start <= onset < end for start, end in spoken)
    return {
        "mistake": True,
        "hit": hit and len(said) == len(event.expected),
        "over": over,
        "clean": scored.clean(event),
        "late_s": onset - start_s if onset is not None and hit else None,
        "n_wrong": len(said) - bool(hit),
    }


def _flawless(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    start_s, end_s = event.window_s or (event.start_s, event.end_s)
    speech_s = scored.activity.seconds_in(start_s, end_s)
    return {
        "mistake": False,
        "hit": False,
        "over": False,
        "clean": scored.clean(event),
        "late_s": None,
        "n_wrong": int(speech_s * 1000 > scored.windows.spurious_ms),
    }


def _ends_before(scored: ScoredDialogue, event: EventLabel) -> list[float]:
    """Ends of the windows of earlier events: words until then belong to those."""
    return [
        other.window_s[1]
        for other in scored.dialogue.events
        if other is not event and other.window_s and other.window_s[1] <= event.start_s
    ]


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute the F1 of corrections and its parts."""
    recitals = [recital for observed in dialogues for recital in observed["recitals"]]
    mistakes = [recital for recital in recitals if recital["mistake"]]
    flawless = [recital for recital in recitals if not recital["mistake"]]
    clean = [recital for recital in mistakes if recital["hit"] and recital["clean"]]
    hits = [recital for recital in mistakes if recital["hit"]]
    n_wrong = sum(bool(recital["n_wrong"]) for recital in recitals)
    found = 2 * len(hits) + n_wrong + len(mistakes) - len(hits)
    credit = 2 * len(clean) + n_wrong + len(mistakes) - len(clean)
    return {
        CREDIT: graded(2 * len(clean) / credit if credit else None, len(mistakes) + n_wrong),
        "f1": graded(2 * len(hits) / found if found else None, len(mistakes) + n_wrong),
        "corrected": share([recital["hit"] for recital in mistakes]),
        "over_the_user": share([recital["over"] for recital in hits]),
        "flawless_left_alone": share([not recital["n_wrong"] for recital in flawless]),
        "correction_latency_s": mean([r["late_s"] for r in hits if r["late_s"] is not None]),
    }


SUITE: Final = Suite(
    name="interjection",
    asks="the agent corrects a mistake while the user goes on, and says nothing without one",
    title_note=(
        "Simulated recitals of numbers, days and months with a word left out, or without a mistake."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=32,
    meanings={
        CREDIT: "F1 of corrections, of which only those with nothing unasked count",
        "f1": "of corrections: right and in time, missed, and said where there was nothing to say",
        "corrected": "mistakes with the right word, alone, within 1.5 s",
        "over_the_user": "of these, the ones begun while the user was still speaking",
        "flawless_left_alone": "recitals without a mistake in which the agent was silent",
        "correction_latency_s": "from the end of the wrong word to the correction",
    },
)
