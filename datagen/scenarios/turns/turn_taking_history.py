"""How turns were taken in what is placed of a dialogue already, for who goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.datagen.dialogue.script import Script
from microturn.datagen.dialogue.timeline import Word
from microturn.datagen.dialogue.turn_taking import (
    BACKCHANNEL_EVENTS,
    Span,
    TurnTaking,
    joined,
    measure,
)

MAX_OVERLAPPED: Final = 0.7  # of the changes, however few of those before did


def turn_taking_until(script: Script, end: int, *, join: int) -> TurnTaking:
    """What the word times give of the first `end` samples; silences below `join` are speech."""
    timeline = script.timeline
    labels = [(e.start, e.end) for e in timeline.events if e.type in BACKCHANNEL_EVENTS]
    return measure(
        joined(_spans(timeline.user), join),
        joined(_spans(timeline.agent), join),
        backchannels=labels,
        n_samples=end,
    )


def share_from_here(offsets: Sequence[int], wanted: float, ahead: float) -> float:
    """Which share of `ahead` changes has to overlap for `wanted` of these and those to do."""
    missing = wanted * len(offsets) - sum(offset <= 0 for offset in offsets)
    return min(max(wanted + missing / max(ahead, 1.0), 0.0), MAX_OVERLAPPED)


def _spans(words: list[Word]) -> list[Span]:
    return [(word.start, word.end) for word in words]
