"""Notes: words that left the model's window come back as text on `text_in`.

A model attends to its last `window` micro-turns. With notes on, the words before that are kept as
text: a bounded list of lines, `<system> <user> words` for the user's and `<system> words` for the
agent's own, each sent whenever `text_in` is free and again when it has itself left the window.
Typed words and results of the background agent go first; a line that they interrupt starts again.
The notes depend on the words and their times alone.

A model has to be trained with such lines to make use of them; the demo's is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field

from microturn.inference.config import NotesConfig
from microturn.inference.transcript import TranscriptWord
from microturn.model.streams import StreamLayout, Tokenizer, note_text


def check_notes(config: NotesConfig, layout: StreamLayout) -> None:
    """Raise ValueError when notes are on and the model reads no text."""
    if config.enabled and not layout.text_in_positions:
        raise ValueError(
            "notes.enabled=true needs a model that reads text, and this one has "
            "layout.text_in_positions=0; leave notes off"
        )


@dataclass(kw_only=True, eq=False)
class _Line:
    """Words of one side without a long pause."""

    ids: list[int]
    sent: int | None = None  # micro-turn in which it was last sent in full


@dataclass(kw_only=True)
class _Draft:
    side: str = ""
    words: list[TranscriptWord] = field(default_factory=list)


class Notes:
    """The lines of one conversation and the order in which they are sent."""

    def __init__(
        self, config: NotesConfig, *, tokenizer: Tokenizer, layout: StreamLayout, window: int
    ) -> None:
        self._config, self._tokenizer, self._window = config, tokenizer, window
        self._pause = layout.round_to_micro_turns(config.pause_s)
        self._lines: deque[_Line] = deque(maxlen=config.lines)
        self._draft = _Draft()
        self._n_read = 0  # words of the transcript that left the window
        self._line: _Line | None = None
        self._left: list[int] = []

    @property
    def lines(self) -> list[str]:
        """The notes as text, oldest first."""
        return [self._tokenizer.decode(line.ids) for line in self._lines]

    def next_ids(
        self, words: Sequence[TranscriptWord], micro_turn: int, *, max_ids: int
    ) -> list[int]:
        """Return the next ids for `micro_turn`, from the transcript so far."""
        self._read_words(words, micro_turn)
        if not self._left:
            self._line = self._next(micro_turn)
            self._left = list(self._line.ids) if self._line else []
        ids, self._left = self._left[:max_ids], self._left[max_ids:]
        if self._line is not None and not self._left:
            self._line.sent, self._line = micro_turn, None
        return ids

    def copy(self) -> Notes:
        """Return the notes as they are now."""
        kept = copy(self)
        state = (self._lines, self._draft, self._line, self._left)
        kept._lines, kept._draft, kept._line, kept._left = deepcopy(state)
        return kept

    def interrupt(self) -> None:
        """Let other text go first; the line under way is sent from its start later."""
        self._line, self._left = None, []

    def _next(self, micro_turn: int) -> _Line | None:
        """Return the line outside the window that has waited longest, if there is one."""
        unsent = [line for line in self._lines if line.sent is None]
        if unsent:
            return unsent[0]
        outside = [
            (line.sent, index, line)
            for index, line in enumerate(self._lines)
            if line.sent is not None and micro_turn - line.sent >= self._window
        ]
        return min(outside)[2] if outside else None

    def _read_words(self, words: Sequence[TranscriptWord], micro_turn: int) -> None:
        """Add the words that left the window since the last call to the draft."""
        while self._n_read < len(words):
            word = words[self._n_read]
            if word.micro_turn + self._window > micro_turn:
                break
            self._n_read += 1
            if not self._continues(word):
                self._finish()
                self._draft.side = word.side
            self._draft.words.append(word)
        draft = self._draft.words
        if draft and draft[-1].micro_turn + self._window + self._pause < micro_turn:
            self._finish()

    def _continues(self, word: TranscriptWord) -> bool:
        draft = self._draft.words
        return (
            bool(draft)
            and self._draft.side == word.side
            and len(draft) < self._config.words
            and word.micro_turn - draft[-1].micro_turn <= self._pause
        )

    def _finish(self) -> None:
        if self._draft.words:
            words = " ".join(word.text for word in self._draft.words)
            note = note_text(words, of_user=self._draft.side == "user")
            self._lines.append(_Line(ids=self._tokenizer.encode_lane_text(note)))
        self._draft = _Draft()


def make_notes(
    config: NotesConfig, *, tokenizer: Tokenizer, layout: StreamLayout, window: int
) -> Notes | None:
    """Make the notes of a new conversation, or None when they are off."""
    if not config.enabled:
        return None
    return Notes(config, tokenizer=tokenizer, layout=layout, window=window)
