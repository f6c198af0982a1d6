"""Regions of tensors in safetensors files, read and written in place, without copies of whole ones.

The format (github.com/huggingface/safetensors, "Format"): 8 bytes with the length of a JSON header,
the header, then the tensors row by row, little-endian. Files have the bytes that `save_file` of the
library writes. Offsets and sizes are in elements, one number per dimension.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# In the order in which the library lays out a file.
_TYPES: Final = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES: Final = {dtype: name for name, dtype in _TYPES.items()}
_KEY: Final = "microturn"  # of the header: what this program says about a file, as JSON
_CHUNK: Final = 1 << 22  # elements that are converted or leave a device at once


class Stored(Protocol):
    """A tensor in files."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill a tensor with the region of its size at `offsets`; empty: at the beginning."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that lies in one piece in a file."""

    path: Path
    start: int  # byte of its first element
    dtype: torch.dtype
    shape: tuple[int, ...]

    @torch.no_grad()
    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill a tensor with the region of its size at `offsets`; empty: at the beginning."""
        if not into.is_contiguous():
            whole = torch.empty_like(into, memory_format=torch.contiguous_format)
            self.read(whole, offsets)
            into.copy_(whole)
            return
        direct = into.device.type == "cpu" and into.dtype == self.dtype
        with self.path.open("rb", buffering=0) as file:
            for at, part in self._parts(into, offsets, direct=direct):
                file.seek(at)
                between = part if direct else torch.empty(len(part), dtype=self.dtype)
                _read_all(file, between, self.path)
                if not direct:
                    part.copy_(between)

    @torch.no_grad()
    def write(self, value: Tensor, offsets: Sequence[int] = ()) -> None:
        """Write a tensor as the region of its size at `offsets`; the file was created."""
        direct = value.device.type == "cpu"
        with self.path.open("r+b", buffering=0) as file:
            for at, part in self._parts(value.contiguous(), offsets, direct=direct):
                file.seek(at)
                _write_all(file, part.cpu())

    def copy(self, source: Stored) -> None:
        """Write what another stored tensor of this shape holds, some rows at a time."""
        if not self.shape:
            self.write(_read(source, (), ()))
            return
        rows = max(1, _CHUNK // max(1, math.prod(self.shape[1:])))
        for first in range(0, self.shape[0], rows):
            size = (min(rows, self.shape[0] - first), *self.shape[1:])
            offsets = (first, *(0 for _ in self.shape[1:]))
            self.write(_read(source, size, offsets), offsets)

    def _parts(
        self, region: Tensor, offsets: Sequence[int], *, direct: bool
    ) -> Iterator[tuple[int, Tensor]]:
        """Cut a region into what is contiguous in the file: its first byte, and the elements."""
        flat = region.reshape(-1)
        for far, near, n in runs(self.shape, offsets, region.shape):
            for i in range(0, n, n if direct else _CHUNK):
                end = n if direct else min(n, i + _CHUNK)
                yield self.start + (far + i) * self.dtype.itemsize, flat[near + i : near + end]


@dataclass(frozen=True)
class PiecedTensor:
    """A tensor that lies in pieces, each at its offsets; together they are all of it."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: tuple[tuple[StoredTensor, tuple[int, ...]], ...]

    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill a tensor with the region of its size at `offsets`; empty: at the beginning."""
        offsets = offsets or [0] * len(self.shape)
        for piece, begin in self.pieces:
            low = [max(a, b) for a, b in zip(offsets, begin, strict=True)]
            ends = zip(offsets, into.shape, begin, piece.shape, strict=True)
            high = [min(a + n, b + m) for a, n, b, m in ends]
            if all(a < b for a, b in zip(low, high, strict=True)):
                spans = zip(low, high, offsets, strict=True)
                here = into[tuple(slice(a - o, b - o) for a, b, o in spans)]
                piece.read(here, [a - o for a, o in zip(low, begin, strict=True)])


@dataclass(frozen=True)
class SomeRows:
    """Rows of a stored tensor at other places in one of another length.

    Other rows are those of `base`, or stay.
    """

    source: Stored
    base: Stored | None
    row_of: Mapping[int, int]  # from rows here to rows of the source
    dtype: torch.dtype
    shape: tuple[int, ...]

    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill the rows that the source has of the region at `offsets`; empty: at the beginning."""
        if self.base is not None:
            self.base.read(into, offsets)
        first, *rest = offsets or [0] * len(self.shape)
        known = [row for row in range(len(into)) if first + row in self.row_of]
        # Rows that follow each other in both are one run.
        runs = itertools.groupby(
            enumerate(known), lambda each: (each[1] - each[0], self._way(first + each[1]))
        )
        for _, run in runs:
            rows = [row for _, row in run]
            self.source.read(into[rows[0] : rows[-1] + 1], [self.row_of[first + rows[0]], *rest])

    def _way(self, row: int) -> int:
        return self.row_of[row] - row


@dataclass(frozen=True)
class PlannedFile:
    """A file that is to be written: its header, and where each tensor will lie."""

    path: Path
    header: bytes
    tensors: Mapping[str, StoredTensor]
    n_bytes: int

    @classmethod
    def of(
        cls, path: Path, tensors: Mapping[str, Tensor | Stored], about: Mapping[str, Any]
    ) -> PlannedFile:
        """Plan a file of whole tensors; sharded ones count with their global shape."""
        order = [*_TYPES]
        names = sorted(tensors, key=lambda name: (order.index(_NAMES[tensors[name].dtype]), name))
        header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(about, sort_keys=True)}}
        end = 0
        for name in names:
            value = tensors[name]
            start, end = end, end + n_bytes(value)
            header[name] = {
                "dtype": _NAMES[value.dtype],
                "shape": list(value.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        first = 8 + len(text)
        planned = {
            name: StoredTensor(
                path,
                first + header[name]["data_offsets"][0],
                tensors[name].dtype,
                tuple(tensors[name].shape),
            )
            for name in names
        }
        return cls(path, len(text).to_bytes(8, "little") + text, planned, first + end)

    def create(self) -> None:
        """Make the file with its header and its full length."""
        with self.path.open("wb") as file:
            file.write(self.header)
            file.truncate(self.n_bytes)


def n_bytes(value: Tensor | Stored) -> int:
    """Count the bytes of a whole tensor."""
    return math.prod(value.shape) * value.dtype.itemsize


def read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """Read where the tensors of a file lie, and what `about` said; checks that the file is whole.

    Raises ValueError, without the path, where it is damaged; OSError where it cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:  # checks the header against the length of the file
            about = {**json.loads((file.metadata() or {}).get(_KEY, "{}"))}
        with path.open("rb") as plain:
            size = int.from_bytes(plain.read(8), "little")
            header = json.loads(plain.read(size))
        tensors = {
            name: StoredTensor(
                path, 8 + size + each["data_offsets"][0], _TYPES[each["dtype"]], (*each["shape"],)
            )
            for name, each in header.items()
            if name != "__metadata__"
        }
    except (SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return tensors, about


def write_file(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a whole file of whole tensors; `about` goes into the header as JSON."""
    plan = PlannedFile.of(path, tensors, about)
    plan.create()
    for name, value in tensors.items():
        plan.tensors[name].write(value)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def runs(
    shape: Sequence[int], offsets: Sequence[int], sizes: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    """Cut a region into runs that are contiguous in the whole and in the region.

    Yields first element in the whole, first element in the region, number of elements.
    """
    offsets = offsets or [0] * len(shape)
    if not math.prod(sizes):
        return
    tail = len(shape)  # dimensions from here on are whole
    while tail and sizes[tail - 1] == shape[tail - 1]:
        tail -= 1
    axis = max(tail - 1, 0)  # the last one that is cut
    n = math.prod(sizes[axis:])
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    begin = sum(o * s for o, s in zip(offsets, strides, strict=True))
    outer = itertools.product(*(range(size) for size in sizes[:axis]))
    for i, place in enumerate(outer):
        yield begin + sum(p * s for p, s in zip(place, strides, strict=False)), i * n, n


def _read(source: Stored, size: Sequence[int], offsets: Sequence[int]) -> Tensor:
    region = torch.empty((*size,), dtype=source.dtype)
    source.read(region, offsets)
    return region


def _bytes_of(part: Tensor) -> memoryview:
    return part.detach().view(torch.uint8).numpy().data


def _read_all(file: Any, part: Tensor, path: Path) -> None:
    view = _bytes_of(part)
    while view:
        n = file.readinto(view)
        if not n:
            raise OSError(f"{path} ends before its tensors do")
        view = view[n:]


def _write_all(file: Any, part: Tensor) -> None:
    view = _bytes_of(part)
    while view:
        view = view[file.write(view) :]
