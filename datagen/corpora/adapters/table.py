"""Tables with a header: `metadata.csv` of an audio folder, Coqui's `audio_file|text|speaker_name`.

Cells are apart by commas, tabs, semicolons or bars; columns have the names of the fields of JSONL.
Files are beside the table, or in a folder `wavs`, `clips` or `audio` there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import files_below
from microturn.datagen.corpora.adapters.fields import NAMES, check_columns
from microturn.datagen.corpora.adapters.jsonl import faulty_row, recording_of_row
from microturn.datagen.corpora.adapters.table_rows import delimiter_of, rows_of
from microturn.datagen.corpora.recordings import Format, Recording, read_text

_SUFFIXES = (".csv", ".tsv", ".psv")
_FOLDERS = ("wavs", "wav", "clips", "audio")


def header_of(path: Path) -> list[str]:
    """Return the names in the first line of a table; [] if it does not name sound and text."""
    with path.open("rb") as file:
        line = file.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")
    names = [name.strip().strip('"') for name in line.split(delimiter_of(line))]
    known = set(names).intersection(NAMES["audio"]), set(names).intersection(NAMES["text"])
    return names if all(known) else []


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() in _SUFFIXES and header_of(root) else []
    beside = [path for path in sorted(root.glob("*")) if path.suffix.lower() in _SUFFIXES]
    tables = [path for path in beside if path.is_file() and header_of(path)]
    below = (path for path in files_below(root) if path.name in ("metadata.csv", "metadata.tsv"))
    return tables or sorted(path for path in below if header_of(path))


def _matches(root: Path) -> bool:
    return bool(_tables(root))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    check_columns(columns)
    for path in _tables(root):
        text = read_text(path)
        for number, row, fault in rows_of(text, delimiter_of(text.partition("\n")[0])):
            if fault:
                yield faulty_row(path, number, fault)
            else:
                yield recording_of_row(path, root, number, row, columns, folders=_FOLDERS)


TABLE = Format(
    name="table",
    sign="a .csv or .tsv with a header that names sound and text",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
    named_columns=True,
)
