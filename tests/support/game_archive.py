"""Small archives in the format of *Flight of the Amazon Queen*, with texts and clips of a test."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

_HEADER = bytes(20)
_PERSON = (0, 0, 0, 0, 0, 0, -3)  # what follows the name of an object that is a person


def archive_file(path: Path, entries: Mapping[str, bytes], *, compression: int = 1) -> Path:
    """Write a `queen.1c` of these entries."""
    start = 15 + 21 * len(entries)
    head = b"QTBL" + b"PEM10 " + b"\0\0" + bytes([compression]) + struct.pack(">H", len(entries))
    body = b""
    for name, data in entries.items():
        head += struct.pack(">12sBII", name.encode(), 0, start + len(body), len(data))
        body += data
    path.write_bytes(head + body)
    return path


def tables(people: Sequence[str] = (), *, descriptions: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the tables of names: object n is person n, from 1."""
    head = struct.pack(">4H", 0, len(people), len(people), len(descriptions))
    objects = b"".join(struct.pack(">8h", n, *_PERSON) for n in range(1, len(people) + 1))
    lines = [*descriptions, *people, *[""] * 12]
    return {"QUEEN.JAS": _HEADER + head + objects, "QUEEN2.JAS": "\r\n".join(lines).encode()}


def dialogue_tree(
    key: int,
    menus: Sequence[tuple[int, Sequence[tuple[int, int]]]],
    *,
    joe: Mapping[int, str],
    other: Mapping[int, str],
    again: tuple[str, str],
) -> bytes:
    """Return a DOG entry: menus of a head and up to five (choice, following head); texts by choice.

    Joe's text 0 is his greeting and the other's text 1 the answer; `again` is Joe's greeting of a
    later meeting, and its answer.
    """
    table = b""
    for head, choices in menus:
        rows = [(head, 0), *choices, *[(0, 0)] * (5 - len(choices))]
        table += b"".join(struct.pack(">8h", 0, row[0], 0, row[1], 0, 0, 0, 0) for row in rows)
    said = _lines(joe, start=32 + len(table))
    answers = 32 + len(table) + len(said)
    replies = _lines(other, start=answers)
    last = answers + len(replies)
    numbers = struct.pack(">5h", len(menus), key, key, len(joe), len(other))
    places = struct.pack(">HHH", answers, 0, last)
    body = numbers + bytes(12) + places + bytes(4) + table + said + replies
    for text in reversed(again):
        body += _text(text, place=len(body), align=2)
    return _HEADER + body


def cut_scene(lines: Sequence[tuple[int, str]]) -> bytes:
    """Return a CUT entry: the object that speaks (0: Joe), and its text, in order."""
    records = b"".join(struct.pack(">17hh", who, *[0] * 16, 0) for who, _ in lines)
    body = struct.pack(">hhHHHH", 0, len(lines), 0, 0, 12 + len(records), 0) + records + b"\0"
    for _, text in lines:
        body += _text(text, place=len(body), align=2)
    return _HEADER + body


def _lines(texts: Mapping[int, str], *, start: int) -> bytes:
    out = b""
    for ident, text in texts.items():
        out += struct.pack(">hh", 0, ident)
        out += _text(text, place=start + len(out), align=4)
    return out


def _text(text: str, *, place: int, align: int) -> bytes:
    data = bytes([len(text)]) + text.encode("cp437")
    return data + bytes(-(place + len(data)) % align)
