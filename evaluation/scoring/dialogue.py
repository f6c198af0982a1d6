"""The scripted side of a dialogue: its events, what each expects, and what the agent recorded.

A view of the labels (`datagen/labels/dialogue.py`): sorted, with words normalised. Scoring reads
nothing else of a dialogue, so that one can be written by hand in a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from microturn.datagen.labels.dialogue import (
    DialogueLabels,
    EventLabel,
    TextLabel,
    WordLabel,
    word_list,
)
from microturn.datagen.labels.event_types import event_type
from microturn.datagen.labels.setting import ChannelLabel
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.model.streams import CONTROL_TOKENS, DELEGATE


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """What evaluation knows of one dialogue."""

    key: str
    duration_s: float
    micro_turn_s: float
    events: tuple[EventLabel, ...]
    agent_words: tuple[SpokenWord, ...]
    user_words: tuple[SpokenWord, ...] = ()
    background_words: tuple[SpokenWord, ...] = ()
    intended_words: tuple[SpokenWord, ...] = ()  # of the agent, without any interruption
    messages: tuple[TextLabel, ...] = ()
    delegates_s: tuple[float, ...] = ()  # when the recorded agent delegated
    families: tuple[str, ...] = ()
    users: frozenset[str] = frozenset()  # the people who speak to the agent
    channel: ChannelLabel = ChannelLabel()
    # What a recogniser understands of the microphone; None: nobody asked one.
    recognised: tuple[str, ...] | None = None

    @classmethod
    def of(cls, key: str, labels: DialogueLabels) -> Dialogue:
        """Return the view of a dialogue's labels."""
        delegate = CONTROL_TOKENS[DELEGATE]
        return cls(
            key=key,
            duration_s=labels.duration_s,
            micro_turn_s=labels.micro_turn_s,
            events=tuple(sorted(labels.events, key=lambda e: (e.start_s, e.end_s))),
            agent_words=split_words(labels.words.agent),
            user_words=split_words(labels.words.user),
            background_words=split_words(labels.words.background),
            intended_words=split_words(labels.intended_agent_words),
            messages=tuple(sorted(labels.text_in, key=lambda text: text.time_s)),
            delegates_s=tuple(sorted(c.time_s for c in labels.controls if c.token == delegate)),
            families=labels.families,
            users=frozenset(item.speaker for item in labels.items if item.lane == "user"),
            channel=labels.channel,
        )

    def of_type(self, *types: str) -> list[EventLabel]:
        """The events of these types; raises ValueError for a type that does not exist."""
        for name in types:
            event_type(name)
        return [event for event in self.events if event.type in types]


def split_words(labels: Sequence[WordLabel]) -> tuple[SpokenWord, ...]:
    """Single normalised words in order of time; those of one label have its whole span."""
    return tuple(
        SpokenWord(
            text=piece,
            start_s=label.start_s,
            end_s=label.end_s,
            times=label.times if len(pieces) == 1 else UNKNOWN,
        )
        for label in sorted(labels, key=lambda label: label.start_s)
        for pieces in (word_list(label.text),)
        for piece in pieces
    )


def joined_words(words: Sequence[SpokenWord]) -> list[SpokenWord]:
    """Join the words of one label of unknown times again."""
    found: list[SpokenWord] = []
    for word in words:
        last = found[-1] if found else None
        span = (word.start_s, word.end_s, UNKNOWN)
        if last and word.times == UNKNOWN and span == (last.start_s, last.end_s, last.times):
            found[-1] = replace(last, text=f"{last.text} {word.text}")
        else:
            found.append(word)
    return found
