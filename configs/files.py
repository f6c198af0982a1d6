"""Files and folders that appear whole or not at all.

A file is written as `.NAME.PID.tmp` beside its place and renamed when it is complete: a reader, a
full disk or a killed process never leaves half of one under NAME. A killed process leaves its
temporary file. A folder is written as `.NAME.part`. Nothing waits for the disk unless `durable` is
set, which only files need that replace hours of work.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the temporary path to write to; it becomes `path`, or is removed after an error.

    `durable` waits until the content and the name are on the disk, so that a power failure leaves
    the file that was there before or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, over: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write into; it becomes `path`, or is removed after an error.

    `path` does not exist, or is empty, or is to be replaced (over=True).
    """
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir(parents=True)
    try:
        yield part
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if over:
            path.replace(old)
        part.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8 or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
