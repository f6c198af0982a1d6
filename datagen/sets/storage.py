"""Storage of sets and corpora: local folders, or any URL that fsspec supports.

Writes are atomic: a local file is written under a temporary name and renamed, a remote one is
sent in one put. `place` returns a `pathlib.Path` for local folders and a `RemotePath`, which has
the few methods of `Path` that are used here, for URLs.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from microturn.configs.files import draft_of, drafts, make_folder

_URL = re.compile(r"[a-z][a-z0-9+.-]*(::|://)", re.IGNORECASE)
PROCESS_ONLY = "memory"  # the protocol of a file system that other processes cannot see


@dataclass(frozen=True)
class RemotePath:
    """An object or a folder at a URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.url.rstrip("/").rpartition("/")[0])

    @property
    def protocol(self) -> str:
        return re.split("::|://", self.url)[0].lower()

    @cached_property
    def target(self) -> tuple[Any, str]:
        """Return the fsspec file system and the path in it."""
        from fsspec.core import url_to_fs

        try:
            fs, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:  # unknown protocol, or missing package
            raise ValueError(f"{self.url} cannot be opened ({error})") from error
        return fs, str(path)

    def is_file(self) -> bool:
        fs, path = self.target
        fs.invalidate_cache()  # other machines write here too
        return bool(fs.isfile(path))

    def is_dir(self) -> bool:
        fs, path = self.target
        fs.invalidate_cache()
        return bool(fs.isdir(path))

    def read_bytes(self) -> bytes:
        fs, path = self.target
        return bytes(fs.cat_file(path))

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> IO[bytes]:
        fs, path = self.target
        file: IO[bytes] = fs.open(path, mode)
        return file


Place = Path | RemotePath


def place(location: str | Place) -> Place:
    """Parse a folder or file as named on a command line: a path, file://, or another URL."""
    if isinstance(location, Path | RemotePath):
        return location
    if not _URL.match(location):
        return Path(location)
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return RemotePath(location)


def size_of(item: Place) -> int:
    """Return the size of a file in bytes; raises FileNotFoundError if it is missing."""
    if isinstance(item, Path):
        return item.stat().st_size
    fs, path = item.target
    fs.invalidate_cache()
    return int(fs.size(path))


def read_range(item: Place, *, start: int, size: int) -> bytearray:
    """Read a part of a file into a new buffer; shorter if the file ends before."""
    if isinstance(item, RemotePath):
        fs, path = item.target
        return bytearray(fs.cat_file(path, start=start, end=start + size))
    data = bytearray(size)
    with open(item, "rb", buffering=0) as file:
        file.seek(start)
        del data[file.readinto(data) :]
    return data


@contextlib.contextmanager
def local_copy(item: Place) -> Iterator[Path]:
    """Yield a local path with the content of a file, for readers that accept paths only."""
    if isinstance(item, Path):
        yield item
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / item.name
        copy.write_bytes(item.read_bytes())
        yield copy


def names(folder: Place, pattern: str) -> list[str]:
    """Return the sorted names in a folder that match; empty if the folder is missing."""
    if isinstance(folder, Path):
        return sorted(path.name for path in folder.glob(pattern))
    fs, path = folder.target
    fs.invalidate_cache()
    try:
        entries = [str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False)]
    except FileNotFoundError:
        return []
    return sorted(name for name in entries if fnmatch.fnmatchcase(name, pattern))


def write_whole(item: Place, data: bytes | str) -> None:
    """Write a file atomically."""
    draft = Draft(item)
    try:
        draft.write(data.encode() if isinstance(data, str) else data)
        draft.commit()
    except BaseException:
        draft.abandon()
        raise


def remove(item: Place) -> None:
    """Remove a file if it exists."""
    if isinstance(item, Path):
        item.unlink(missing_ok=True)
        return
    fs, path = item.target
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        return


def remove_folder(folder: Place) -> None:
    """Remove a flat folder and its files; other processes may do the same at the same time."""
    for name in names(folder, "*") + names(folder, ".*"):
        remove(folder / name)
    if isinstance(folder, Path) and folder.is_dir():
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # another process has just written there: the next run removes it
            return


def stale_drafts(folder: Place, pattern: str = "*", *, only_dead: bool = True) -> Iterator[Path]:
    """Yield temporary files: those of processes that died here, or of all processes."""
    if isinstance(folder, Path):  # remote drafts are in memory
        yield from drafts(folder, pattern, only_dead=only_dead)


class Draft:
    """A file that is being written: under a temporary name, or in memory for a URL."""

    def __init__(self, item: Place) -> None:
        self._item = item
        self._temporary: Path | None = None
        self._file: IO[bytes] = io.BytesIO()
        self._written = 0
        if isinstance(item, Path):
            try:
                make_folder(item.parent)
                self._temporary = draft_of(item)
                self._file = self._temporary.open("wb")
            except OSError as error:
                raise _cannot_write(item, error) from error

    def write(self, data: bytes) -> int:
        try:
            n = self._file.write(data)
        except OSError as error:
            raise _cannot_write(self._item, error) from error
        self._written += n
        return n

    def tell(self) -> int:
        return self._written

    def commit(self) -> None:
        """Rename or send the file to its final name."""
        try:
            if self._temporary is None:
                assert isinstance(self._item, RemotePath)
                assert isinstance(self._file, io.BytesIO)
                fs, path = self._item.target
                fs.pipe_file(path, self._file.getvalue())
                return
            assert isinstance(self._item, Path)
            self._file.close()
            try:
                os.replace(self._temporary, self._item)
            except FileNotFoundError:
                # The process that finished this set has cleaned up; the same bytes are there.
                if not self._item.is_file():
                    raise
        except OSError as error:
            raise _cannot_write(self._item, error) from error

    def abandon(self) -> None:
        """Discard the file; never raises, because it is called while handling an error."""
        with contextlib.suppress(OSError):  # closing flushes once more, which fails on a full disk
            self._file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)


def _cannot_write(item: Place, error: OSError) -> OSError:
    reason = error.strerror or str(error) or type(error).__name__
    return OSError(
        f"{item} cannot be written ({reason}); finished files stay valid, and the same command "
        "continues from there"
    )
