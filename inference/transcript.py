"""Transcripts: token ids of the two text lanes become words with their micro-turns."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from microturn.model.streams import CONTROL_TOKENS, IDLE, StreamLayout, Tokenizer

Side = Literal["user", "agent"]
_MAX_PIECES: Final = 24  # a word of more pieces counts as complete, so that work stays bounded
PLAYED_AFTER: Final = 1  # the output of micro-turn k is known, and played, from boundary k + 1 on


def micro_turns_to_s(n: int, layout: StreamLayout) -> float:
    """Convert a number of micro-turns, or a boundary between them, to seconds."""
    return round(layout.duration_s(n), 6)


@dataclass(frozen=True, kw_only=True)
class TranscriptWord:
    """One word and its boundary between micro-turns on the wall clock of the conversation.

    A heard word ended by the start of `micro_turn`; a word of the agent begins to sound there.
    """

    side: Side
    text: str
    micro_turn: int
    played: bool = True  # False: said by the agent, but its sound never reached the user


class WordStream:
    """Joins the pieces of words as they arrive; a word is returned once it is complete.

    The last word stays open for one more micro-turn, because its next piece may stand there.
    """

    def __init__(self, tokenizer: Tokenizer, side: Side) -> None:
        self._tokenizer = tokenizer
        self._side = side
        self._ids: list[int] = []
        self._times: list[int] = []

    def add_ids(self, ids: Sequence[int], micro_turn: int) -> list[TranscriptWord]:
        """Return the words completed by the ids of one micro-turn; idle ids do not count."""
        new = [int(i) for i in ids if i != IDLE]
        self._ids += new
        self._times += [micro_turn + PLAYED_AFTER] * len(new)
        return self._complete_words(keep_last=bool(new))

    def copy(self) -> WordStream:
        """Return the stream as it is now."""
        kept = copy(self)
        kept._ids, kept._times = list(self._ids), list(self._times)
        return kept

    def flush(self) -> list[TranscriptWord]:
        """Return the word that is still open, at the end of a conversation."""
        return self._complete_words(keep_last=False)

    def _complete_words(self, *, keep_last: bool) -> list[TranscriptWord]:
        starts = self._tokenizer.words(self._ids)
        keep_from = starts[-1][1] if starts and keep_last else len(self._ids)
        if len(self._ids) - keep_from > _MAX_PIECES:
            keep_from = len(self._ids)
        words = [
            TranscriptWord(side=self._side, text=text, micro_turn=self._times[index])
            for text, index in starts
            if index < keep_from and text and text not in CONTROL_TOKENS
        ]
        self._ids, self._times = self._ids[keep_from:], self._times[keep_from:]
        return words


@dataclass(kw_only=True)
class Transcript:
    """All words of both sides in the order in which they became known."""

    words: list[TranscriptWord] = field(default_factory=list)

    def words_of(self, side: Side) -> list[TranscriptWord]:
        return [word for word in self.words if word.side == side]

    def mark_unplayed(self, micro_turn: int) -> None:
        """Mark the agent's words that begin to sound at a boundary whose sound was dropped."""
        for index in range(len(self.words) - 1, -1, -1):
            word = self.words[index]
            if word.side == "agent":
                if word.micro_turn < micro_turn:
                    return
                if word.micro_turn == micro_turn:
                    self.words[index] = replace(word, played=False)
