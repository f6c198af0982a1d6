"""Who said what, and when: token ids of the two text lanes become words with their micro-turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from microturn.model.streams import IDLE, SPECIAL_TOKENS, Tokenizer

Side = Literal["user", "agent"]
_MAX_PIECES: Final = 24  # a word of more pieces is taken for whole, so that work stays bounded
PLAYED_AFTER: Final = 1  # what micro-turn k makes is known, and played, from boundary k + 1 on


@dataclass(frozen=True, kw_only=True)
class TranscriptWord:
    """One word and its boundary between micro-turns on the wall clock of the conversation.

    A heard word was over by the start of `micro_turn`; a said word begins to sound there.
    """

    side: Side
    text: str
    micro_turn: int


class WordStream:
    """Joins the pieces of words as they arrive; a word is given out when it is known to be whole.

    The last word stays open for one more micro-turn, because its next piece may stand there.
    """

    def __init__(self, tokenizer: Tokenizer, side: Side) -> None:
        self._tokenizer = tokenizer
        self._side = side
        self._ids: list[int] = []
        self._times: list[int] = []

    def push(self, ids: Sequence[int], micro_turn: int) -> list[TranscriptWord]:
        """Words completed by the ids of one micro-turn; idle ids do not count."""
        fresh = [int(i) for i in ids if i != IDLE]
        self._ids += fresh
        self._times += [micro_turn + PLAYED_AFTER] * len(fresh)
        return self._take(keep_last=bool(fresh))

    def flush(self) -> list[TranscriptWord]:
        """The word that is still open, at the end of a conversation."""
        return self._take(keep_last=False)

    def _take(self, *, keep_last: bool) -> list[TranscriptWord]:
        found = self._tokenizer.words(self._ids)
        keep_from = found[-1][1] if found and keep_last else len(self._ids)
        if len(self._ids) - keep_from > _MAX_PIECES:
            keep_from = len(self._ids)
        words = [
            TranscriptWord(side=self._side, text=text, micro_turn=self._times[index])
            for text, index in found
            if index < keep_from and text and text not in SPECIAL_TOKENS
        ]
        self._ids, self._times = self._ids[keep_from:], self._times[keep_from:]
        return words


@dataclass(kw_only=True)
class Transcript:
    """All words of both sides in the order in which they became known."""

    words: list[TranscriptWord] = field(default_factory=list)

    def of(self, side: Side) -> list[TranscriptWord]:
        return [word for word in self.words if word.side == side]
