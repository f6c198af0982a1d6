"""Texts and folders as other people wrote them: cut into lines, walked through links."""

import io
import os
from collections.abc import Iterator
from pathlib import Path


def lines_of(text: str) -> list[str]:
    r"""Cut a text at \n, \r\n and \r only, as files are.

    `str.splitlines` also cuts at U+2028, U+0085, form feeds and others, which sentences and JSON
    may hold.
    """
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, through links to folders too, in a fixed order.

    A link back to a folder above it is not followed. A folder that cannot be read is an OSError.
    """
    return _walk(folder, ())


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    status = folder.stat()
    place = (status.st_dev, status.st_ino)
    if place in above:
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir():
            yield from _walk(folder / entry.name, (*above, place))
        else:
            yield folder / entry.name
