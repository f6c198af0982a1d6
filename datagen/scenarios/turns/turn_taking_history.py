"""Turn-taking statistics of the segments placed so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.datagen.corpora.waveform import Span, joined
from microturn.datagen.dialogue.script import Script
from microturn.datagen.dialogue.timeline import Word
from microturn.datagen.dialogue.turn_taking import (
    TurnTaking,
    measure,
)
from microturn.datagen.labels.event_types import event_type

MAX_OVERLAPPED: Final = 0.7  # of the changes, however few of those before did


def turn_taking_until(script: Script, end: int, *, join: int) -> TurnTaking:
    """Measure the first `end` samples by word times; silences below `join` count as speech."""
    timeline = script.timeline
    labels = [
        (e.start_sample, e.end_sample) for e in timeline.events if not event_type(e.type).takes_turn
    ]
    return measure(
        joined(_spans(timeline.user), join),
        joined(_spans(timeline.agent), join),
        backchannels=labels,
        n_samples=end,
    )


def share_from_here(offsets: Sequence[int], target: float, ahead: float) -> float:
    """Share of the `ahead` coming changes that must overlap for a share of `target` over all."""
    missing = target * len(offsets) - sum(offset <= 0 for offset in offsets)
    return min(max(target + missing / max(ahead, 1.0), 0.0), MAX_OVERLAPPED)


def _spans(words: list[Word]) -> list[Span]:
    return [(word.start_sample, word.end_sample) for word in words]
