"""Windows of recorded conversations as units: what each side says, stretch by stretch.

A side is divided into stretches of speech, its words joined over silences shorter than a pause.
Between them its channel is left out, so that the agent's lane is silent where the agent is. A
stretch begins and ends where it sounds; so do its first and its last word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import RECORDED, CorpusConversation, Side
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.waveform import voice_spans
from microturn.datagen.dialogue.sides import matching
from microturn.datagen.dialogue.takes import USER_FADE_S
from microturn.datagen.dialogue.unit_words import UnitWord
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.model.streams import normalise
from microturn.model.streams.levels import AGENT_FADE_S, energy_edges, fade, level_gain
from microturn.model.streams.pcm import Audio

JOIN_S: Final = 0.18  # a shorter silence is part of a stretch (Heldner & Edlund 2010)
BEFORE_S, AFTER_S = 0.06, 0.1  # around the words of a stretch, in which it may still sound
VOICE_DB: Final = -30.0  # a voice sounds above this, re its loud frames


@dataclass(frozen=True, kw_only=True)
class ConversationWindow:
    """A part of a conversation, one side of it the agent."""

    conversation: CorpusConversation
    agent: int  # side
    start_s: float
    end_s: float


class RecordedConversations:
    """The recorded conversations on the side of a split, by who can be their agent."""

    def __init__(self, conversations: Conversations, config: DatagenConfig) -> None:
        self._conversations = conversations
        self._voices = config.voices
        self._rate = config.layout.sample_rate
        by_agent: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, row in enumerate(conversations.rows):
            unseen = set(row.speakers) & set(config.voices.unseen)
            split = "test" if unseen == set(row.speakers) else row.split
            if row.kind != RECORDED or split not in (config.split, "any"):
                continue
            if unseen and config.split != "test":
                continue
            for side, (own, other) in enumerate((row.sides, row.sides[::-1])):
                (speaker, role), (_, other_role) = own, other
                if role == "user" or other_role == "agent":
                    continue
                if matching(config.voices.agent, (speaker,)):
                    by_agent[speaker].append((number, side))
        self.by_agent = {name: tuple(places) for name, places in sorted(by_agent.items())}

    def seconds(self, name: str) -> float:
        """How long the conversations with this agent last."""
        rows = self._conversations.rows
        return sum(rows[number].duration_s for number, _ in self.by_agent[name])

    def window(self, place: tuple[int, int], *, at: float, length_s: float) -> ConversationWindow:
        """The part that begins at a relative place, at most this long."""
        number, side = place
        found = self._conversations[number]
        length_s = min(length_s, found.duration_s)
        start_s = round(at * (found.duration_s - length_s), 3)
        return ConversationWindow(
            conversation=found, agent=side, start_s=start_s, end_s=start_s + length_s
        )

    def units(self, window: ConversationWindow, side: int) -> list[tuple[Unit, int]]:
        """What a side says in a window: units and the samples at which they begin in it."""
        who = window.conversation.sides[side]
        return self._spoken(window, who, is_agent=side == window.agent)

    def third_voices(self, window: ConversationWindow) -> list[list[tuple[Unit, int]]]:
        """The same of everybody who is on neither side."""
        others = window.conversation.others
        return [self._spoken(window, who, is_agent=False) for who in others]

    def _spoken(
        self, window: ConversationWindow, who: Side, *, is_agent: bool
    ) -> list[tuple[Unit, int]]:
        found = window.conversation
        audio = self._conversations.sound(found, who, window.start_s, window.end_s)
        stretches = self._stretches(window, who, audio)
        if not stretches:
            return []
        level_db = self._voices.agent_level_db if is_agent else self._voices.user_level_db
        active = [audio[words[0].start_sample : words[-1].end_sample] for words in stretches]
        audio = audio * level_gain(np.concatenate(active), level_db)
        placed, free = [], 0
        for number, words in enumerate(stretches):
            after = stretches[number + 1][0].start_sample if number + 1 < len(stretches) else None
            unit = self._unit(found, who, audio, words, within=(free, after), is_agent=is_agent)
            if unit is not None:
                placed.append(unit)
                free = unit[1] + unit[0].n_samples
        return placed

    def _stretches(
        self, window: ConversationWindow, side: Side, audio: Audio
    ) -> list[list[UnitWord]]:
        """Words of a window that follow one another, or spans in which somebody sounds."""
        words = self._words(window, side, len(audio))
        join = round(JOIN_S * self._rate)
        if not side.words:
            words = [
                UnitWord(text="", start_sample=start, end_sample=end, times=UNKNOWN)
                for start, end in self._activity(window, side, audio)
            ]
        found: list[list[UnitWord]] = []
        for word in words:
            if found and word.start_sample - found[-1][-1].end_sample < join:
                found[-1].append(word)
            else:
                found.append([word])
        return found

    def _words(self, window: ConversationWindow, side: Side, n: int) -> list[UnitWord]:
        """The words in a window that are not redacted; none begins before the last one ends."""
        words: list[UnitWord] = []
        for word in side.words:
            if not normalise(word.text) or self._is_redacted(window, word):
                continue
            start = round((word.start_s - window.start_s) * self._rate)
            end = round((word.end_s - window.start_s) * self._rate)
            start = max(start, words[-1].end_sample) if words else start
            if 0 <= start < end <= n:
                words.append(
                    UnitWord(
                        text=normalise(word.text),
                        start_sample=start,
                        end_sample=end,
                        times=word.times,
                    )
                )
        return words

    def _is_redacted(self, window: ConversationWindow, word: AlignedWord) -> bool:
        spans = window.conversation.redacted
        return any(start_s < word.end_s and word.start_s < end_s for start_s, end_s in spans)

    def _activity(
        self, window: ConversationWindow, side: Side, audio: Audio
    ) -> list[tuple[int, int]]:
        join = round(JOIN_S * self._rate)
        if not side.activity:
            return voice_spans(audio, self._rate, threshold_db=VOICE_DB, join=join)
        spans = [
            (
                round((start_s - window.start_s) * self._rate),
                round((end_s - window.start_s) * self._rate),
            )
            for start_s, end_s in side.activity
        ]
        return [(start, end) for start, end in spans if start >= 0 and end <= len(audio)]

    def _unit(
        self,
        found: CorpusConversation,
        side: Side,
        audio: Audio,
        words: Sequence[UnitWord],
        *,
        within: tuple[int, int | None],
        is_agent: bool,
    ) -> tuple[Unit, int] | None:
        """One stretch, from where it begins to sound; None where nothing sounds."""
        before, after = round(BEFORE_S * self._rate), round(AFTER_S * self._rate)
        first = max(words[0].start_sample - before, within[0])
        last = min(words[-1].end_sample + after, len(audio))
        last = last if within[1] is None else max(min(last, within[1]), words[-1].end_sample)
        sound = audio[first:last]
        if not sound.any():
            return None
        begin, end = energy_edges(sound, self._rate, threshold_db=self._voices.trim_db)
        # Only the sound around the words is trimmed, never the words themselves.
        begin = first + min(begin, words[0].start_sample - first)
        end = max(first + end, words[-1].end_sample)
        piece = audio[begin:end].copy()
        fade(piece, round((AGENT_FADE_S if is_agent else USER_FADE_S) * self._rate))
        piece.setflags(write=False)
        return (
            Unit(
                source=found.id,
                voice=side.speaker,
                text=" ".join(word.text for word in words),
                audio=piece,
                words=_moved(words, begin, len(piece)),
                licence=found.licence,
                language=found.language,
            ),
            begin,
        )


def _moved(words: Sequence[UnitWord], begin: int, n: int) -> tuple[UnitWord, ...]:
    """The words of a stretch in samples from its start; the outer ones reach to its edges."""
    last = len(words) - 1
    return tuple(
        UnitWord(
            text=word.text,
            start_sample=0 if number == 0 else word.start_sample - begin,
            end_sample=n if number == last else word.end_sample - begin,
            times=word.times,
        )
        for number, word in enumerate(words)
    )
