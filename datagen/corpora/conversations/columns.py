"""The columns of `conversations.jsonl` by which conversations are chosen without their lines."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.corpora import languages, utterance
from microturn.datagen.corpora.conversations import record
from microturn.datagen.corpora.conversations.record import CorpusConversation
from microturn.datagen.corpora.index import lines as index_lines
from microturn.datagen.corpora.index import strings
from microturn.datagen.corpora.index.lines import Columns, LineIndex, open_index
from microturn.datagen.corpora.index.strings import StringColumn, Strings
from microturn.datagen.sets.storage import Place

ADD_AGAIN: Final = "add the corpus again with `microturn corpus add`"
_TEXTS: Final = ("id", "kind", "split", "language")
_LISTS: Final = ("people", "sides")  # several texts in one
_BETWEEN: Final = "\n"  # them
_WITH_WORDS: Final = (1, 2)  # bits of the sides of a recorded one


@dataclass(frozen=True, kw_only=True)
class ConversationRow:
    """What is known of a conversation without reading its line again."""

    id: str
    kind: str
    split: str
    language: str
    duration_s: float
    speakers: tuple[str, ...]
    sides: tuple[tuple[str, str], ...]  # speaker and role of each side of a recorded one
    has_words: tuple[bool, ...]  # for each side of a recorded one


class ConversationColumns:
    """The columns of one file, mapped into memory."""

    def __init__(self, file: Place) -> None:
        self.file = file
        self.index: LineIndex = open_index(
            file,
            columns=lambda some: _columns(file, some),
            code=(record, utterance, languages, strings, index_lines, sys.modules[__name__]),
        )
        self._tables = {name: Strings.of(self.index.columns, name) for name in (*_TEXTS, *_LISTS)}
        self._tars = Strings.of(self.index.columns, "tar")
        self._row_of_id: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def ids(self) -> Strings:
        return self._tables["id"]

    def row_of(self, conversation_id: str) -> int:
        """Return the row of an id, -1 if there is none."""
        code = self.ids.code(conversation_id)
        if code < 0:
            return -1
        if self._row_of_id is None:
            self._row_of_id = np.empty(len(self), np.int64)
            self._row_of_id[self.index.columns["id"]] = np.arange(len(self))
        return int(self._row_of_id[code])

    def row(self, number: int) -> ConversationRow:
        columns = self.index.columns
        texts = {name: table[int(columns[name][number])] for name, table in self._tables.items()}
        people, kind = texts.pop("people"), texts["kind"]
        sides = texts.pop("sides").split(_BETWEEN)
        bits = int(columns["with_words"][number])
        return ConversationRow(
            **texts,
            duration_s=float(columns["duration_s"][number]),
            speakers=tuple(people.split(_BETWEEN)),
            sides=tuple(zip(sides[::2], sides[1::2], strict=False)),
            has_words=tuple(bool(bits & bit) for bit in _WITH_WORDS)
            if kind == record.RECORDED
            else (),
        )

    @property
    def people(self) -> set[str]:
        """Everybody who speaks in some conversation."""
        return {name for names in self._tables["people"] for name in names.split(_BETWEEN)}

    def conversation(self, number: int) -> CorpusConversation:
        """Read the line of a conversation."""
        return CorpusConversation.from_json(json.loads(self.index.line(number)))

    def tar_ends(self) -> Iterator[tuple[str, int]]:
        """Yield the tars that lines name, and where the last of their bytes are."""
        ends = self.index.columns["tar_ends"]
        for code, name in enumerate(self._tars):
            yield name, int(ends[code])


class ConversationRows(Sequence[ConversationRow]):
    """The rows of several files, one after the other; each is made when it is asked for."""

    def __init__(self, files: Sequence[ConversationColumns]) -> None:
        self._files = tuple(files)
        self._firsts = np.cumsum([0, *map(len, files)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def place(self, number: int) -> tuple[ConversationColumns, int]:
        """Return the file of a row, and its number there."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} conversations, none of number {number}")
        number %= len(self)
        file = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return self._files[file], number - int(self._firsts[file])

    @overload
    def __getitem__(self, number: int) -> ConversationRow: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[ConversationRow]: ...
    def __getitem__(self, number: int | slice) -> ConversationRow | Sequence[ConversationRow]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        file, row = self.place(number)
        return file.row(row)


def _columns(file: Place, lines: Iterator[bytes]) -> Columns:
    """Read and check every line; raises ValueError that names the line."""
    texts = {name: StringColumn() for name in (*_TEXTS, *_LISTS)}
    durations, words, ids = array("d"), array("b"), set[str]()
    ends: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            found = CorpusConversation.from_json(json.loads(line))
            if found.id in ids:
                raise ValueError(f"the id {found.id!r} occurs twice")
        except KeyError as error:
            raise ValueError(
                f"{file}, line {number}: field {error} is missing; {ADD_AGAIN}."
            ) from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file}, line {number}: {error}; {ADD_AGAIN}.") from error
        ids.add(found.id)
        for name in _TEXTS:
            texts[name].append(getattr(found, name))
        texts["people"].append(_BETWEEN.join(found.speakers))
        sides = (text for side in found.sides for text in (side.speaker, side.role))
        texts["sides"].append(_BETWEEN.join(sides))
        durations.append(found.duration_s)
        pairs = zip(found.sides, _WITH_WORDS, strict=False)
        words.append(sum(bit for side, bit in pairs if side.words))
        for side in (*found.sides, *found.others):
            ends[side.tar] = max(ends.get(side.tar, 0), side.offset + side.size)
    tars = StringColumn()
    for name in sorted(ends):
        tars.append(name)
    columns: dict[str, Any] = {
        "duration_s": np.array(durations, np.float64),
        "with_words": np.array(words, np.int8),
        "tar_ends": np.array([ends[name] for name in sorted(ends)], np.int64),
        **tars.arrays("tar"),
    }
    for name, column in texts.items():
        columns |= column.arrays(name)
    return columns
