"""Dialogues to measure: those of a shard set, or the conversations of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import RECORDED, Side
from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.events import derive_events
from microturn.datagen.derive.speech_units import SpokenSide, units_of
from microturn.datagen.dialogue.turn_taking import measure
from microturn.datagen.fit.law import TimingSample
from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel, WordLabel
from microturn.datagen.labels.event_types import event_type
from microturn.datagen.sets.shards import ShardReader


class DialogueSides(NamedTuple):
    """Two sides on one clock, and the backchannels among what they say."""

    user: SpokenSide
    agent: SpokenSide
    duration_s: float
    backchannels: tuple[EventLabel, ...]


def sample_of(dialogues: Iterable[DialogueSides], config: DeriveConfig) -> TimingSample:
    """Measure dialogues as the data card does, by the words."""
    sample = TimingSample()
    for dialogue in dialogues:
        sides = (units_of(dialogue.user, "user", config), units_of(dialogue.agent, "agent", config))
        user, agent = ([(_ms(unit.start_s), _ms(unit.end_s)) for unit in units] for units in sides)
        taking = measure(
            user,
            agent,
            backchannels=[(_ms(e.start_s), _ms(e.end_s)) for e in dialogue.backchannels],
            n_samples=_ms(dialogue.duration_s),
        )
        sample.add(taking, [unit.length_s for units in sides for unit in units])
    return sample


def of_set(reader: ShardReader, *, language: str) -> Iterator[DialogueSides]:
    """The dialogues of a set, with their exact backchannels."""
    for position in range(len(reader)):
        labels = reader.without_sound(position).labels
        if language and not _speaks(labels, language):
            continue
        yield DialogueSides(
            user=SpokenSide(words=labels.words.user),
            agent=SpokenSide(words=labels.words.agent),
            duration_s=labels.duration_s,
            backchannels=tuple(e for e in labels.events if not event_type(e.type).takes_turn),
        )


def of_conversations(
    conversations: Conversations, *, language: str, config: DeriveConfig
) -> Iterator[DialogueSides]:
    """The recorded conversations of corpora, with derived backchannels."""
    for number, row in enumerate(conversations.rows):
        if row.kind != RECORDED or (language and row.language != language_tag(language)):
            continue
        conversation = conversations[number]
        end_s = conversation.duration_s
        user, agent = (spoken_side(side, end_s=end_s) for side in conversation.sides)
        events = derive_events(
            *(user, agent), duration_s=end_s, language=conversation.language, config=config
        )
        yield DialogueSides(
            user=user,
            agent=agent,
            duration_s=end_s,
            backchannels=tuple(e for e in events if not event_type(e.type).takes_turn),
        )


def spoken_side(side: Side, *, end_s: float) -> SpokenSide:
    """What a side of a conversation says; its activity says when, where words do not.

    Times that exceed the recording, as they may by a little, end with it.
    """
    words = tuple(
        WordLabel(
            text=word.text, start_s=word.start_s, end_s=min(word.end_s, end_s), times=word.times
        )
        for word in side.words
    )
    spans = tuple((start, min(end, end_s)) for start, end in side.activity)
    return SpokenSide(words=words, spans=spans or None)


def _speaks(labels: DialogueLabels, language: str) -> bool:
    """Whether everybody who is recorded speaks a language."""
    spoken = {item.language for item in labels.items if item.lane in ("user", "agent")}
    return spoken == {language_tag(language)}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
