"""Texts and folders as other people wrote them: cut into lines, walked through links."""

import io
import json
import os
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The longer marks first: that of UTF-32 begins like that of UTF-16.
_MARKS = (
    (BOM_UTF32_LE, "utf-32"),
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
    (BOM_UTF8, "utf-8-sig"),
)

# What reading a file of another form raises in Python.
MISFITS = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


@contextmanager
def naming_damage(path: object, way_out: str) -> Iterator[None]:
    """Raise what a damaged file makes its reader raise as a ValueError that names the file.

    One that begins with its name passes as it is. way_out: what to do, as in `simulate it again`.
    """
    try:
        yield
    except MISFITS as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is damaged ({_misfit(error)}); {way_out}") from error


def _misfit(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return "no text in UTF-8"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def decoded_text(data: bytes, path: Path) -> str:
    """Decode a text: UTF-8, or what its byte order mark says; ValueError names the encoding.

    Other encodings are not guessed: Latin-1 gives every byte a letter, right or wrong.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding not in ("utf-8", "utf-8-sig"):
            raise ValueError(
                f"{path} begins with the mark of {encoding.upper()} and is not ({error.reason})"
            ) from error
        raise ValueError(_foreign(data, error.start, path)) from error
    if "\0" in text:
        raise ValueError(f"{path} is no text, or UTF-16 without its mark; write it in UTF-8")
    return text


def _foreign(data: bytes, place: int, path: Path) -> str:
    """Say which word is not in UTF-8, and what it would be in the most likely encoding."""
    windows = any(0x80 <= byte < 0xA0 for byte in data)
    name = "WINDOWS-1252" if windows else "ISO-8859-1"
    begin = max(data.rfind(b" ", 0, place), data.rfind(b"\n", 0, place)) + 1
    word = data[begin : place + 20].split()[0].decode(name, errors="replace")
    line = data.count(b"\n", 0, place) + 1
    return (
        f"{path}, line {line}, is not in UTF-8 (in {name} it would be {word!r}); write it in "
        f"UTF-8, as `iconv -f {name} -t UTF-8` does"
    )


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
