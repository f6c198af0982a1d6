"""Words that fell out of the model's window come back as notes on `text_in`.

A model attends to its last `window` micro-turns. With notes on, what was said before that is kept
as text: a bounded list of lines, `<system> <user> words` for the user's and `<system> words` for
the agent's own, each given whenever `text_in` is free and again when it has itself fallen out of
the window. Typed words and results of the background agent go first; a line that they interrupt
starts again. What is given when depends on the words and their times alone.

A model has to be trained with such lines to make use of them; the demo's is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from microturn.inference.config import NotesConfig
from microturn.inference.transcript import TranscriptWord
from microturn.model.streams import StreamLayout, Tokenizer


def check_notes(config: NotesConfig, layout: StreamLayout) -> None:
    """Raise ValueError when a model cannot be given notes."""
    if config.enabled and not layout.text_in_positions:
        raise ValueError(
            "notes.enabled=true needs a model that reads text, and this one has "
            "layout.text_in_positions=0; leave notes off"
        )


@dataclass(kw_only=True, eq=False)
class _Line:
    """What one side said without a long pause."""

    ids: list[int]
    given: int | None = None  # micro-turn in which it was last given in full


@dataclass(kw_only=True)
class _Draft:
    side: str = ""
    words: list[TranscriptWord] = field(default_factory=list)


class Notes:
    """The lines of one conversation and the order in which they are given."""

    def __init__(
        self, config: NotesConfig, *, tokenizer: Tokenizer, layout: StreamLayout, window: int
    ) -> None:
        self._config, self._tokenizer, self._window = config, tokenizer, window
        self._pause = round(config.pause_s * 1000 / layout.micro_turn_ms)
        self._lines: deque[_Line] = deque(maxlen=config.lines)
        self._draft = _Draft()
        self._read = 0  # words of the transcript that fell out of the window
        self._line: _Line | None = None
        self._left: list[int] = []

    @property
    def lines(self) -> list[str]:
        """The notes as text, oldest first."""
        return [self._tokenizer.decode(line.ids) for line in self._lines]

    def take(self, n: int, words: Sequence[TranscriptWord], micro_turn: int) -> list[int]:
        """Up to n ids for `micro_turn`, given the transcript so far."""
        self._forget(words, micro_turn)
        if not self._left:
            self._line = self._next(micro_turn)
            self._left = list(self._line.ids) if self._line else []
        taken, self._left = self._left[:n], self._left[n:]
        if self._line is not None and not self._left:
            self._line.given, self._line = micro_turn, None
        return taken

    def interrupt(self) -> None:
        """Something else goes first; the line under way is given from its start later."""
        self._line, self._left = None, []

    def _next(self, micro_turn: int) -> _Line | None:
        """The line that has waited longest of those that the model cannot see."""
        fresh = [line for line in self._lines if line.given is None]
        if fresh:
            return fresh[0]
        gone = [
            (line.given, index, line)
            for index, line in enumerate(self._lines)
            if line.given is not None and micro_turn - line.given >= self._window
        ]
        return min(gone)[2] if gone else None

    def _forget(self, words: Sequence[TranscriptWord], micro_turn: int) -> None:
        """Take in the words that fell out of the window since the last call."""
        while self._read < len(words):
            word = words[self._read]
            if word.micro_turn + self._window > micro_turn:
                break
            self._read += 1
            if not self._continues(word):
                self._finish()
                self._draft.side = word.side
            self._draft.words.append(word)
        said = self._draft.words
        if said and said[-1].micro_turn + self._window + self._pause < micro_turn:
            self._finish()

    def _continues(self, word: TranscriptWord) -> bool:
        said = self._draft.words
        return (
            bool(said)
            and self._draft.side == word.side
            and len(said) < self._config.words
            and word.micro_turn - said[-1].micro_turn <= self._pause
        )

    def _finish(self) -> None:
        if self._draft.words:
            mark = "<user> " if self._draft.side == "user" else ""
            text = " ".join(word.text for word in self._draft.words)
            ids = self._tokenizer.encode(f"<system> {mark}{text}")
            self._lines.append(_Line(ids=ids))
        self._draft = _Draft()
