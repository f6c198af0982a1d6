"""The columns of all recordings of a corpus, and choices of rows by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.corpora.index.manifest_columns import LISTS, NUMBERS, TEXTS
from microturn.datagen.corpora.index.strings import Strings, joined_texts
from microturn.datagen.corpora.utterance import Utterance

Mask = NDArray[np.bool_]  # (n,) one for each row
Rows = NDArray[np.int64]  # (n_chosen,)


class Catalogue:
    """The columns of `manifest_columns` with their tables of texts."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self.columns = columns
        self._tables = {name: Strings.of(columns, name) for name in (*TEXTS, *LISTS)}
        self._row_of_id: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.columns["id"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def table(self, name: str) -> Strings:
        """Return the texts of a column by their codes."""
        return self._tables[name]

    def row_of(self, utterance_id: str) -> int:
        """Return the row of an id, -1 if there is none."""
        code = self.table("id").code(utterance_id)
        if code < 0:
            return -1
        if self._row_of_id is None:
            self._row_of_id = np.empty(len(self), np.int32)
            self._row_of_id[self["id"]] = np.arange(len(self), dtype=np.int32)
        return int(self._row_of_id[code])

    def is_one_of(self, name: str, texts: Iterable[str]) -> Mask:
        """Return which rows have one of these texts."""
        codes, wanted = self[name], self.table(name).codes(texts)
        if len(wanted) == 1:
            return np.equal(codes, wanted[0])
        found = np.zeros(len(self.table(name)), np.bool_)
        found[wanted] = True
        return found[codes]

    def has(self, name: str, text: str) -> Mask:
        """Return which rows have a text in a list of texts, such as a tag or a word."""
        entries = np.flatnonzero(np.equal(self[name], self.table(name).code(text)))
        mask = np.zeros(len(self), np.bool_)
        mask[np.searchsorted(self[f"{name}_ends"], entries, side="right") - 1] = True
        return mask


class Utterances(Sequence[Utterance]):
    """Recordings of a corpus, chosen by columns; each is read when it is asked for."""

    def __init__(self, catalogue: Catalogue, read: Callable[[int], Utterance], rows: Rows) -> None:
        self.rows = rows
        self._catalogue = catalogue
        self._read = read

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...

    @overload
    def __getitem__(self, index: slice | Rows) -> Utterances: ...

    def __getitem__(self, index: int | slice | Rows) -> Utterance | Utterances:
        if isinstance(index, slice | np.ndarray):
            return self.at(self.rows[index])
        return self._read(int(self.rows[index]))

    def __iter__(self) -> Iterator[Utterance]:
        return map(self._read, self.rows.tolist())

    def at(self, rows: Rows) -> Utterances:
        """Return other recordings of the same corpus."""
        return Utterances(self._catalogue, self._read, rows)

    def where(self, mask: Mask) -> Utterances:
        """Return those recordings for which a mask (n,) is true."""
        return self.at(self.rows[mask])

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers, or the codes of a column of texts."""
        return self._catalogue[name][self.rows]

    def texts(self, name: str) -> list[str]:
        """Return a column of texts; rows with the same text share it."""
        codes, table = self.numbers(name), self._catalogue.table(name)
        used, places = np.unique(codes, return_inverse=True)
        shared = [table[code] for code in used.tolist()]
        return [shared[place] for place in places.tolist()]

    def distinct(self, name: str) -> list[str]:
        """Return the different texts of a column, sorted."""
        table = self._catalogue.table(name)
        return [table[code] for code in np.unique(self.numbers(name)).tolist()]

    def is_one_of(self, name: str, texts: Iterable[str]) -> Mask:
        """Return which recordings have one of these texts in a column."""
        return self._catalogue.is_one_of(name, texts)[self.rows]

    def has(self, name: str, text: str) -> Mask:
        """Return which recordings have a text in a list of texts, such as a tag."""
        return self._catalogue.has(name, text)[self.rows]

    def n_words(self) -> NDArray[np.int64]:
        """Return the number of words of each."""
        ends: NDArray[np.int64] = self._catalogue["word_ends"]
        return ends[self.rows + 1] - ends[self.rows]

    def is_between(self, name: str, low: float, high: float) -> Mask:
        """Return which recordings have a number in a range, both bounds included."""
        numbers = self.numbers(name)
        return np.asarray((low <= numbers) & (numbers <= high))

    def having(self, name: str, text: str) -> Utterances:
        """Return the recordings that have a text in a list of texts."""
        entries, lengths = _entries_of(self._catalogue, name, self.rows)
        found = self._catalogue[name][entries] == self._catalogue.table(name).code(text)
        owners = np.repeat(np.arange(len(self)), lengths)[found]
        return self.at(self.rows[np.unique(owners)])

    def by_text(self, name: str) -> dict[str, Utterances]:
        """Return the recordings of each text of a column, in the order of their first ones."""
        return {text: self[places] for text, places in self.places_of(name).items()}

    def places_of(self, name: str) -> dict[str, Rows]:
        """Return where each text of a column is among these, in the order of the first places."""
        codes, table = self.numbers(name), self._catalogue.table(name)
        order = np.argsort(codes, kind="stable")
        used, first = np.unique(codes[order], return_index=True)
        groups = np.split(order, first[1:]) if len(used) else []
        by_first = sorted(zip(used.tolist(), groups, strict=True), key=lambda group: group[1][0])
        return {table[code]: places for code, places in by_first}


def joined(catalogues: Sequence[Catalogue], kept: Sequence[Rows]) -> Catalogue:
    """Return rows of several catalogues as one, one after the other."""
    chosen = list(zip(catalogues, kept, strict=True))
    columns = {name: np.concatenate([c[name][rows] for c, rows in chosen]) for name in NUMBERS}
    for name in TEXTS:
        codes = [c[name][rows] for c, rows in chosen]
        columns |= joined_texts(name, [c.table(name) for c in catalogues], codes)
    for name in LISTS:
        places, ends = zip(*(_entries_of(c, name, rows) for c, rows in chosen), strict=True)
        codes = [c[name][own] for c, own in zip(catalogues, places, strict=True)]
        columns |= joined_texts(name, [c.table(name) for c in catalogues], codes)
        columns[f"{name}_ends"] = np.concatenate([[0], np.cumsum(np.concatenate(ends))])
    return Catalogue(columns)


def _entries_of(catalogue: Catalogue, name: str, rows: Rows) -> tuple[Rows, Rows]:
    """Return the places of the lists of rows, and the lengths of the lists."""
    ends = catalogue[f"{name}_ends"]
    lengths = ends[rows + 1] - ends[rows]
    before = np.cumsum(lengths) - lengths
    return np.repeat(ends[rows] - before, lengths) + np.arange(lengths.sum()), lengths
