"""Files of JSON lines that may be gzipped: those of a corpus that ships, to be small."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from microturn.datagen.sets.storage import Place

PACKED: Final = ".gz"
_PIECE_BYTES: Final = 1 << 20


def lines_file(folder: Place, name: str) -> Place:
    """Return the file of this name in a folder, or the gzipped one that stands in its stead."""
    packed = folder / f"{name}{PACKED}"
    return packed if not (folder / name).is_file() and packed.is_file() else folder / name


def is_packed(file: Place) -> bool:
    return file.name.endswith(PACKED)


def unpacked(stored: bytes, file: Place) -> bytes:
    """Return the lines of a gzipped file; raises ValueError where it is damaged."""
    try:
        return gzip.decompress(stored)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} is damaged ({error}); take it from the original again") from error


def write_packed(path: Path, lines: bytes) -> None:
    """Write lines gzipped, with `.gz` after the name; equal lines give equal bytes."""
    path.with_name(f"{path.name}{PACKED}").write_bytes(gzip.compress(lines, mtime=0))


def content_of(file: Place) -> Iterator[bytes]:
    """Yield the bytes of a file piece by piece, a gzipped one unpacked."""
    with file.open("rb") as stream:
        if is_packed(file):
            yield unpacked(stream.read(), file)
            return
        while piece := stream.read(_PIECE_BYTES):
            yield piece
