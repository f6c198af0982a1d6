"""Recordings chosen by what they say: the prompts of one voice, and phrases of anybody.

Both keep rows of the corpus; a recording is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.corpora.index.catalogue import Mask, Utterances
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.utterance import Utterance

WHOLE = -1  # place of a phrase that is a whole recording
SHORTEST_CUT_S = 0.12  # a shorter phrase is not cut out
SENTENCE_WORDS = 3
MAX_BREAK_S = 0.1  # between two words of a sentence that is said in one go


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A recording, or the words of one from a place on, that say one of the phrases asked for."""

    utterance: Utterance
    text: str
    place: int = WHOLE  # of its first word in the recording

    @property
    def spoken(self) -> tuple[int, int] | None:
        """First and last word of a phrase in a longer recording."""
        if self.place == WHOLE:
            return None
        return self.place, self.place + len(self.text.split()) - 1


class Phrases(Sequence[Phrase]):
    """Recordings, each with the text that it stands for, perhaps within it at a place.

    seconds (n,): how long each phrase is; none: as long as the recordings.
    """

    def __init__(
        self,
        utterances: Utterances,
        texts: Sequence[str],
        places: Sequence[int] | None = None,
        seconds: Sequence[float] | None = None,
    ) -> None:
        self.utterances, self.texts = utterances, texts
        self._places = [WHOLE] * len(texts) if places is None else places
        self._seconds = seconds

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Length of each phrase, (n,)."""
        own = self.utterances.numbers("duration_s") if self._seconds is None else self._seconds
        return np.asarray(own, np.float64)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Phrase: ...

    @overload
    def __getitem__(self, index: slice) -> Phrases: ...

    def __getitem__(self, index: int | slice) -> Phrase | Phrases:
        if isinstance(index, slice):
            return self._at(np.arange(len(self))[index])
        return Phrase(
            utterance=self.utterances[index], text=self.texts[index], place=self._places[index]
        )

    def where(self, mask: Mask) -> Phrases:
        """Return those for which a mask (n,) is true."""
        return self._at(np.flatnonzero(mask))

    def and_cut(self, more: Utterances, texts: Collection[str], *, longest_s: float) -> Phrases:
        """Add what begins or ends longer recordings: words of known times that are one of `texts`.

        At the other edge a phrase runs into the next word, as in connected speech.
        """
        rows, said = [self.utterances.rows], list(self.texts)
        places, seconds = list(self._places), self.seconds.tolist()
        wanted = {tuple(text.split()): text for text in texts}
        lengths = sorted({len(words) for words in wanted}, reverse=True)
        begins, ends = tuple(f"{text} " for text in texts), tuple(f" {text}" for text in texts)
        # The text is at hand; words and their times are read from the manifest, one by one.
        mask = [t.startswith(begins) or t.endswith(ends) for t in more.texts("canonical")]
        near = more.where(np.array(mask, np.bool_))
        for row, utterance in zip(near.rows, near, strict=True):
            for place, text in _at_edges(utterance, wanted, lengths):
                words = utterance.words[place : place + len(text.split())]
                length_s = words[-1].end_s - words[0].start_s
                if SHORTEST_CUT_S <= length_s <= longest_s:
                    rows.append(np.array([row]))
                    said.append(text)
                    places.append(place)
                    seconds.append(length_s)
        return Phrases(self.utterances.at(np.concatenate(rows)), said, places, seconds)

    def _at(self, kept: NDArray[np.intp]) -> Phrases:
        return Phrases(
            self.utterances.at(self.utterances.rows[kept]),
            [self.texts[place] for place in kept.tolist()],
            [self._places[place] for place in kept.tolist()],
            self.seconds[kept].tolist(),
        )

    def by_speaker(self) -> dict[str, Phrases]:
        """Return the phrases of each speaker, in the order of their first ones."""
        names = dict.fromkeys(self.utterances.texts("speaker"))
        return {name: self.where(self.utterances.is_one_of("speaker", (name,))) for name in names}


def _at_edges(
    utterance: Utterance, wanted: Mapping[tuple[str, ...], str], lengths: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Find the longest phrase with which a longer recording begins, and that with which it ends."""
    words = [canonical(word.text) if word.is_known else "" for word in utterance.words]
    for at_end in (False, True):
        for n in lengths:
            place = len(words) - n if at_end else 0
            text = wanted.get(tuple(words[place : place + n])) if n < len(words) else None
            if text is not None:
                yield place, text
                break


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
