"""Rows of tables in text files: cells apart by tabs, commas or bars, and rows that are torn."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from microturn.configs.reading import lines_of

Row = dict[str, str]
DELIMITERS = ("\t", "|", ";", ",")


def delimiter_of(header: str) -> str:
    """Return the sign that cuts a header into most names."""
    return max(DELIMITERS, key=header.count)


def rows_of(text: str, delimiter: str) -> Iterator[tuple[int, Row, str]]:
    """Yield the number of each line after the header, its row, and its fault or "".

    Cells in quotation marks are read as such; a mark inside a cell is a mark. A row with more or
    fewer cells than the header is faulty: nobody knows which cell is torn.
    """
    lines = _comma_lines(text) if delimiter == "," else _lines(text, delimiter)
    names = next(lines, (0, []))[1]
    for number, cells in lines:
        fault = ""
        if len(cells) != len(names):
            fault = f"it has {len(cells)} cells, and the header {len(names)}"
        yield number, dict(zip(names, cells, strict=False)), fault


def _comma_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows whose cells may hold commas and line ends in quotation marks."""
    reader = csv.reader(io.StringIO(text, newline=""))
    for cells in reader:
        if cells:
            yield reader.line_num, cells


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    n_names = 0
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        cells = [_unquoted(cell) for cell in line.split(delimiter)]
        n_names = n_names or len(cells)
        if len(cells) != n_names and '"' in line:  # a cell in marks may hold the delimiter
            quoted = next(csv.reader([line], delimiter=delimiter))
            cells = quoted if len(quoted) == n_names else cells
        yield number, cells


def _unquoted(cell: str) -> str:
    """Return the content of a cell written in quotation marks, with its own marks doubled."""
    inner = cell[1:-1]
    if len(cell) < 2 or not (cell[0] == cell[-1] == '"') or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"') if '""' in inner else cell
