"""Any tars in the WebDataset format that hold our members, without an index: files, URLs, pipes."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.sets.contents import Contents
from microturn.datagen.sets.shards import (
    COPY_AGAIN,
    LAYOUT_NAME,
    TOKENIZER_NAME,
    StoredDialogue,
    lanes_of,
)
from microturn.datagen.sets.storage import Place, local_copy, place, read_range
from microturn.datagen.sets.tar_copies import PIPE, piped, seekable
from microturn.datagen.sets.tar_members import tar_members
from microturn.model.streams import Lanes, StreamLayout, Tokenizer
from microturn.model.streams.lanes import MISSING_INPUT_ARRAY
from microturn.model.streams.layout import STREAMS
from microturn.model.streams.npz import read_npz

_VOICE = "agent.flac"


@dataclass(frozen=True)
class TarEntry:
    """One dialogue: its tar, and offset and size of each member."""

    tar: int
    key: str
    members: dict[str, tuple[int, int]]


class BareTars:
    """The dialogues of tars, in their order. Every tar is gone through once when it is opened.

    Layout and tokenizer lie beside the first tar, or in `layout_from` (a set or a checkpoint).
    """

    endless = False

    def __init__(self, names: Sequence[str], *, layout_from: str = "") -> None:
        self.names = list(names)
        self.layout, self.tokenizer = _form(self.names, layout_from)
        files = [name for name in names if not name.startswith(PIPE)]
        found: dict[str, Place] = dict(
            zip(files, seekable([place(name) for name in files]), strict=True)
        )
        self._tars = [
            found[name] if name in found else piped(name.removeprefix(PIPE)) for name in names
        ]
        self._entries = [entry for tar in range(len(names)) for entry in self._list(tar)]
        if not self._entries:
            raise ValueError(f"{names[0]}: the tars hold no dialogue")
        self._lengths: dict[int, int] = {}
        self.n_micro_turns = self.length(0)

    def _list(self, tar: int) -> list[TarEntry]:
        name, dialogues = self.names[tar], dict[str, dict[str, tuple[int, int]]]()
        try:
            with self._tars[tar].open("rb") as file:
                for path, offset, size in tar_members(file):
                    folder, _, base = path.removeprefix("./").rpartition("/")
                    key, _, member = base.partition(".")
                    if key and member:  # others, such as ._x of a Mac, are no samples
                        dialogues.setdefault(f"{folder}/{key}".lstrip("/"), {})[member] = (
                            offset,
                            size,
                        )
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no tar {name}") from None
        except (tarfile.TarError, ValueError) as error:
            raise ValueError(f"{name} is damaged ({error}); {COPY_AGAIN}") from error
        entries = [TarEntry(tar, key, members) for key, members in dialogues.items()]
        needed = sorted(self.layout.members)
        if entries and not set(needed) & set(entries[0].members):
            raise ValueError(
                f"{name}: its samples hold {', '.join(sorted(entries[0].members))}, but training "
                f"reads {' and '.join(needed)}, which microturn simulate writes"
            )
        return entries

    def __len__(self) -> int:
        return len(self._entries)

    def lanes(self, index: int) -> Lanes:
        members = self._read(index, self.layout.members)
        return lanes_of(members, self._source(index), self.layout)

    def agent(self, index: int) -> NDArray[np.float32]:
        return StoredDialogue(
            key=self._entries[index].key,
            members={name: bytes(data) for name, data in self._read(index, {_VOICE}).items()},
            source=self._source(index),
            layout=self.layout,
        ).agent()

    def length(self, index: int) -> int:
        if index not in self._lengths:
            data = self._read(index, {STREAMS}).get(STREAMS)
            if data is None:
                return self.lanes(index).n_micro_turns  # says what is missing
            arrays = read_npz(data, f"{self._source(index)}.{STREAMS}")
            self._lengths[index] = len(arrays.get(MISSING_INPUT_ARRAY, ()))
        return self._lengths[index]

    def name(self, index: int) -> str:
        entry = self._entries[index]
        return f"{self.names[entry.tar]} dialogue {entry.key}"

    def contents(self) -> Contents | None:
        return None

    def _source(self, index: int) -> str:
        entry = self._entries[index]
        return f"{self.names[entry.tar]}:{entry.key}"

    def _read(self, index: int, names: set[str] | frozenset[str]) -> dict[str, bytearray]:
        entry = self._entries[index]
        return {
            name: read_range(self._tars[entry.tar], start=offset, size=size)
            for name, (offset, size) in entry.members.items()
            if name in names
        }


def _form(names: Sequence[str], layout_from: str) -> tuple[StreamLayout, Tokenizer]:
    """Read layout and tokenizer of tars."""
    beside = [place(name).parent for name in names if not name.startswith(PIPE)][:1]
    for folder in [place(layout_from)] if layout_from else beside:
        if (folder / LAYOUT_NAME).is_file() and (folder / TOKENIZER_NAME).is_file():
            with local_copy(folder / LAYOUT_NAME) as path:
                layout = StreamLayout.load(path)
            with local_copy(folder / TOKENIZER_NAME) as path:
                return layout, Tokenizer.load(path)
    where = f"in {layout_from}" if layout_from else "beside it"
    raise FileNotFoundError(
        f"{names[0]}: there is no {LAYOUT_NAME} with a {TOKENIZER_NAME} {where}; name the set or "
        "the checkpoint that has them: layout_from=FOLDER"
    )
