"""The agent's words in open speech: what of them is said, and whether the text lane has time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.datagen.scenarios.base import DialogueContext

BEGUN_S: Final = 0.04  # of a word that is broken off; less of it is not said


def text_fits(timelines: Sequence[Timeline], context: DialogueContext) -> bool:
    """Whether all of the agent's words can be written before they are said, as packing does it."""
    layout, encode = context.config.layout, context.tokenizer.encode
    items = [(control.sample, 1) for timeline in timelines for control in timeline.controls]
    items += [
        (word.start_sample, len(encode(word.text)) if word.times != UNKNOWN else 0)
        for timeline in timelines
        for word in timeline.agent
    ]
    limit = float("inf")
    for sample, n_tokens in sorted(items, reverse=True):
        first = (layout.micro_turn_of(sample) - 1) * layout.say_positions
        limit = min(float(first), limit - n_tokens)
    return limit >= 0


def broken_off(planned: Sequence[tuple[Unit, int]], stop: int, *, rate: int) -> int:
    """Where sound ends that is broken off at a sample: inside a word, or at the end of one."""
    begun = stop - round(BEGUN_S * rate)
    words = [
        (start + word.start_sample, start + word.end_sample)
        for unit, start in planned
        for word in unit.words
    ]
    return min(stop, max((end for start, end in words if start < begun), default=stop))
