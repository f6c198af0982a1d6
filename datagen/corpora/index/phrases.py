"""Recordings chosen by what they say: the prompts of one voice, and phrases of anybody.

Both keep rows of the corpus; a recording is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from microturn.datagen.corpora.index.catalogue import Mask, Utterances
from microturn.datagen.corpora.utterance import Utterance

SENTENCE_WORDS = 3
MAX_BREAK_S = 0.1  # between two words of a sentence that is said in one go


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A whole recording that says one of the phrases asked for."""

    utterance: Utterance
    text: str


class Phrases(Sequence[Phrase]):
    """Whole recordings, each with the text that it stands for."""

    def __init__(self, utterances: Utterances, texts: Sequence[str]) -> None:
        self.utterances = utterances
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Phrase: ...

    @overload
    def __getitem__(self, index: slice) -> Phrases: ...

    def __getitem__(self, index: int | slice) -> Phrase | Phrases:
        if isinstance(index, slice):
            return Phrases(self.utterances[index], self.texts[index])
        return Phrase(utterance=self.utterances[index], text=self.texts[index])

    def where(self, mask: Mask) -> Phrases:
        """Return those for which a mask (n,) is true."""
        texts = [self.texts[place] for place in np.flatnonzero(mask).tolist()]
        return Phrases(self.utterances.where(mask), texts)

    def by_speaker(self) -> dict[str, Phrases]:
        """Return the phrases of each speaker, in the order of their first ones."""
        names = dict.fromkeys(self.utterances.texts("speaker"))
        return {name: self.where(self.utterances.is_one_of("speaker", (name,))) for name in names}


class Prompts:
    """The recordings of one voice by their normalised text; of several the first by its id."""

    def __init__(self, utterances: Utterances) -> None:
        ordered = utterances.at(utterances.rows[np.argsort(utterances.numbers("id"))])
        _, first = np.unique(ordered.numbers("text"), return_index=True)
        self._recordings = ordered.at(ordered.rows[np.sort(first)])
        self._texts = self._recordings.texts("text")
        self._places = {text: place for place, text in enumerate(self._texts)}

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, text: str) -> bool:
        return text in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __getitem__(self, text: str) -> Utterance:
        return self._recordings[self._places[text]]

    def fluent(self, *, shortest_s: float, longest_s: float) -> tuple[str, ...]:
        """Return the texts of several words, of known times, without a break inside."""
        n_words = self._recordings.n_words()
        mask = (
            self._recordings.is_between("duration_s", shortest_s, longest_s)
            & (self._recordings.numbers("gap_s") <= MAX_BREAK_S)
            & (n_words >= SENTENCE_WORDS)
            & (n_words == [len(text.split()) for text in self._texts])
        )
        return tuple(self._texts[place] for place in np.flatnonzero(mask).tolist())

    def within(self, text: str) -> tuple[Utterance, int] | None:
        """Return where a word is said within a prompt: the shortest in which its time is known."""
        found = self._recordings.having("word", text)
        order = np.lexsort((found.numbers("id"), found.numbers("duration_s")))
        for utterance in found.at(found.rows[order]):
            for index, word in enumerate(utterance.words):
                if word.text == text and word.is_known:
                    return utterance, index
        return None

    def text_of_key(self) -> dict[str, str]:
        """Return the single word that each key stands for, which other languages have too."""
        pairs = zip(self._recordings.texts("key"), self._texts, strict=True)
        return {key: text for key, text in pairs if key and " " not in text}
