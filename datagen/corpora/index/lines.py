"""The index of a file of JSON lines: where its lines begin, and columns of what they hold.

An index is made once and then mapped into memory, so that any number of processes share it and none
holds the lines. It lies beside its file as `.NAME.index.npz`, or in the user's cache where that
folder cannot be written to. It names the digest of the file and of the code that made it: another
content or other code makes it anew, and so does a damaged index. Its bytes depend on these two
alone, so processes that make it at the same time write the same file.
"""

from __future__ import annotations

import io
import mmap
import re
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.configs.files import replacing
from microturn.configs.paths import cache_folder
from microturn.datagen.corpora.index.packed_lines import is_packed, unpacked
from microturn.datagen.sets.storage import Place, read_range
from microturn.model.streams.npz import read_npz

Columns = dict[str, Any]  # arrays by name
FOLDER: Final = "indices"  # of the cache
_STARTS, _FILE, _CODE = "line_starts", "file_sha256", "code_sha256"
_PIECE_BYTES: Final = 1 << 20
_LINE: Final = re.compile(rb"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


@dataclass(frozen=True, kw_only=True)
class LineIndex:
    """The lines of a file by number, and the columns that were read from them."""

    file: Path  # of a URL the local copy
    sha256: str  # of the file
    starts: NDArray[np.int64]  # (n + 1,) byte of the unpacked file where a line begins, and the end
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def line(self, row: int) -> bytes:
        """Read one line from the file, its end included."""
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        if is_packed(self.file):
            return self._unpacked[start:end]
        return bytes(read_range(self.file, start=start, size=end - start))

    @cached_property
    def _unpacked(self) -> bytes:
        return unpacked(self.file.read_bytes(), self.file)


def open_index(
    file: Place,
    *,
    columns: Callable[[Iterator[bytes]], Columns],
    code: Sequence[ModuleType],
) -> LineIndex:
    r"""Open the index of a file of lines; `columns` makes it where it is missing or out of date.

    `columns` gets the lines in order, as bytes with their ends (\n, \r\n or \r), and returns arrays
    without Python objects; its errors are passed on and nothing is written. `code` are the modules
    that decide what the arrays hold. Raises OSError if the file cannot be read, and ValueError if
    it is gzipped and damaged.
    """
    local = file if isinstance(file, Path) else _fetched(file)
    code_digest = _digest_of_code(code)
    with local.open("rb") as stream:
        expected = file_digest(stream, sha256).hexdigest(), code_digest
    for path in _places(local):
        index = _read(local, path)
        if index is not None and (index.sha256, _code_of(index)) == expected:
            return index
    return _make(local, columns, code_digest)


def _make(local: Path, columns: Callable[[Iterator[bytes]], Columns], code: str) -> LineIndex:
    digest, starts = sha256(), array("q", [0])
    with local.open("rb") as stream:
        if is_packed(local):
            digest.update(stored := stream.read())
            arrays = columns(_lines(io.BytesIO(unpacked(stored, local)), starts))
        else:
            arrays = columns(_lines(_taken(stream, digest.update), starts))
    arrays |= {
        _STARTS: np.array(starts, np.int64),
        _FILE: np.frombuffer(digest.digest(), np.uint8),
        _CODE: np.frombuffer(bytes.fromhex(code), np.uint8),
    }
    for path in _places(local):
        try:
            with replacing(path) as draft, draft.open("wb") as stream:
                np.savez(stream, **arrays)
        except OSError:  # of a folder that is not ours, or a full disk: the next place will do
            continue
        if (index := _read(local, path)) is not None:
            return index
    return _index_of(local, arrays)


def _taken(stream: Iterable[bytes], take: Callable[[bytes], object]) -> Iterator[bytes]:
    for block in stream:
        take(block)
        yield block


def _lines(blocks: Iterable[bytes], starts: array[int]) -> Iterator[bytes]:
    for block in blocks:  # up to a \n
        for line in _LINE.findall(block) if b"\r" in block else (block,):
            starts.append(starts[-1] + len(line))
            yield line


def _read(local: Path, path: Path) -> LineIndex | None:
    """Map an index; None if it is missing or damaged."""
    try:
        with path.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = read_npz(memoryview(mapped), str(path))
        return _index_of(local, arrays)
    except (OSError, ValueError, KeyError):
        return None


def _index_of(local: Path, arrays: Columns) -> LineIndex:
    digest = arrays[_FILE].tobytes().hex()
    return LineIndex(file=local, sha256=digest, starts=arrays[_STARTS], columns=arrays)


def _code_of(index: LineIndex) -> str:
    return index.columns[_CODE].tobytes().hex()


def _digest_of_code(modules: Sequence[ModuleType]) -> str:
    digest = sha256(Path(__file__).read_bytes())
    for module in modules:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def _places(local: Path) -> Iterator[Path]:
    """Yield where the index of a file may lie, the best place first."""
    yield local.with_name(f".{local.name}.index.npz")
    mark = sha256(str(local.resolve()).encode()).hexdigest()[:20]
    for folder in _cache_folders():
        yield folder / f"{mark}.index.npz"


def _cache_folders() -> Iterator[Path]:
    yield cache_folder("") / FOLDER
    yield Path(tempfile.gettempdir()) / f"microturn-{FOLDER}"


def _fetched(file: Place) -> Path:
    """Copy a file from a URL into the cache; it is read anew each time, since it may have changed.

    Raises OSError where there is no room for it.
    """
    mark = sha256(str(file).encode()).hexdigest()[:20]
    failed: OSError | None = None
    for folder in _cache_folders():
        path = folder / f"{mark}.{file.name}"
        try:
            with replacing(path) as draft, draft.open("wb") as copy, file.open("rb") as stream:
                while piece := stream.read(_PIECE_BYTES):
                    copy.write(piece)
            return path
        except PermissionError as error:
            failed = error
    raise OSError(f"{file} cannot be copied to {path.parent} ({failed}); set XDG_CACHE_HOME")
