"""Columns of texts as arrays: each different text once, sorted, and its number in every row."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_ODD: Final = "surrogatepass"  # JSON may hold halves of characters, which are no UTF-8


class Strings:
    """Different texts in the order of their code points; a text's place is its code.

    They are UTF-8 in one array, decoded when asked for, so that a mapped table costs no memory.
    """

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._data = data  # (n_bytes,)
        self._ends = ends  # (n + 1,) first 0

    @staticmethod
    def of(columns: Mapping[str, NDArray[Any]], name: str) -> Strings:
        """Return the table of a column that `StringColumn` made."""
        return Strings(columns[f"{name}.bytes"], columns[f"{name}.ends"])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, code: int) -> str:
        if not 0 <= code < len(self):
            raise IndexError(f"there are {len(self)} texts, none of number {code}")
        return self._bytes(code).decode(errors=_ODD)

    def __iter__(self) -> Iterator[str]:
        data, ends = self._data.tobytes(), self._ends.tolist()
        for start, end in zip(ends[:-1], ends[1:], strict=True):
            yield data[start:end].decode(errors=_ODD)

    def code(self, text: str) -> int:
        """Return the code of a text, -1 if no row has it."""
        wanted, low, high = text.encode(errors=_ODD), 0, len(self)
        while low < high:  # the order of UTF-8 is that of code points
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._bytes(low) == wanted else -1

    def codes(self, texts: Iterable[str]) -> list[int]:
        """Return the sorted codes of those texts that some row has."""
        return sorted({code for code in map(self.code, texts) if code >= 0})

    def _bytes(self, code: int) -> bytes:
        return self._data[self._ends[code] : self._ends[code + 1]].tobytes()


class StringColumn:
    """A column of texts that is being read."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows = array("i")

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, text: str) -> None:
        self._rows.append(self._numbers.setdefault(text, len(self._numbers)))

    def extend(self, texts: Iterable[str]) -> None:
        numbers = self._numbers
        self._rows.extend([numbers.setdefault(text, len(numbers)) for text in texts])

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return `name`, the codes of the rows, and `name.bytes` and `name.ends`, the texts."""
        texts = sorted(self._numbers)
        ranks = np.empty(len(texts), np.int32)
        ranks[[self._numbers[text] for text in texts]] = np.arange(len(texts), dtype=np.int32)
        rows = np.frombuffer(self._rows, np.int32)
        return {name: ranks[rows], **_packed(name, texts)}


def joined_texts(
    name: str, tables: Sequence[Strings], codes: Sequence[NDArray[np.int32]]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a column of several tables' codes, one after the other."""
    texts = sorted({text for table in tables for text in table})
    places = {text: place for place, text in enumerate(texts)}
    moved = [np.array([places[text] for text in table], np.int32) for table in tables]
    rows = [new[old] for new, old in zip(moved, codes, strict=True)]
    return {name: np.concatenate(rows), **_packed(name, texts)}


def _packed(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a table of sorted texts."""
    stored = [text.encode(errors=_ODD) for text in texts]
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(one) for one in stored], out=ends[1:])
    return {f"{name}.bytes": np.frombuffer(b"".join(stored), np.uint8), f"{name}.ends": ends}
