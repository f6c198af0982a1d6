"""A dialogue as long as it is made: things to remember, questions now and then, and recalls.

Every slot of `scenarios.slots` is told near the beginning and asked for later, some of them after
half of the dialogue; some are told anew in between, which replaces what was said. Times are shares
of the dialogue: an hour has recalls after 30 minutes, a minute has them after half a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import RECALL, TURN
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.requests.recall import IS, SAVED
from microturn.datagen.scenarios.vocabulary import AT_ONCE

QUESTION_EVERY_S = (15.0, 40.0)
GAP_S = (0.5, 1.5)
ROOM_S = 6.0  # for any question and its answer
# (slot, told at, asked at), as shares of the dialogue
PLAN = (
    (0, 0.005, 0.03),
    (1, 0.010, 0.52),
    (2, 0.015, 0.10),
    (3, 0.020, 0.53),
    (4, 0.025, 0.20),
    (0, 0.100, 0.61),
    (2, 0.300, 0.81),
    (4, 0.400, 0.91),
    (1, 0.600, 0.65),
    (3, 0.700, 0.95),
)


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A value that is told, or asked for."""

    at: int
    slot: str
    value: tuple[str, ...]
    asked: bool


@register
class LongMemoryScenario:
    name = "long_memory"
    asks = AT_ONCE

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(agent=(SAVED,), user=(*config.scenarios.slots, IS))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        end = start
        for item in _plan(segment):
            end = _questions(segment, end, item.at)
            at = max(end + segment.draw(GAP_S), item.at)
            if at + segment.rules.samples(ROOM_S) > segment.n_samples:
                break
            end = _told_or_asked(segment, item, at)
        if not segment.end_sample:
            raise DoesNotFit
        _questions(segment, end, segment.n_samples)
        segment.end_sample = segment.n_samples


def _plan(segment: SegmentBuilder) -> list[_Item]:
    slots, numbers = segment.context.config.scenarios.slots, segment.questions.vocabulary.numbers
    items = []
    for slot, told, asked in PLAN:
        value = tuple(numbers[segment.choose(numbers)] for _ in range(2))
        name = slots[slot % len(slots)]
        for share, is_asked in ((told, False), (asked, True)):
            at = round(share * segment.n_samples)
            items.append(_Item(at=at, slot=name, value=value, asked=is_asked))
    return sorted(items, key=lambda item: item.at)


def _questions(segment: SegmentBuilder, end: int, until: int) -> int:
    """Questions now and then, as long as one fits before `until`; returns when all is said."""
    while True:
        at = end + segment.draw(QUESTION_EVERY_S)
        if at + segment.rules.samples(ROOM_S) > until:
            return end
        question = segment.questions.turn(segment.rng)
        end = segment.answer(question, segment.ask(question, at, may_pause=False)).end_sample


def _told_or_asked(segment: SegmentBuilder, item: _Item, at: int) -> int:
    words = (item.slot,) if item.asked else (item.slot, IS, *item.value)
    spans = segment.recite(words, at)
    request = Span(start_sample=at, end_sample=spans[-1].end_sample, text=" ".join(words))
    if item.asked:
        return segment.react(request, item.value, event=RECALL).end_sample
    return segment.react(request, (SAVED,), event=TURN).end_sample
