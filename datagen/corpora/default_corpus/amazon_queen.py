"""Reads the voiced lines of the game *Flight of the Amazon Queen* from its data file `queen.1c`.

The file is one big-endian archive: `QTBL`, a 6-byte version, 2 bytes, a compression byte (1 = MP3),
a 16-bit count, then per entry a name of 12 bytes, a byte, a 32-bit offset and a 32-bit size.
`*.SB` entries are voice clips (bare MP3 frames); the texts are in the dialogue trees (`*.DOG`),
the cut-scenes (`*.CUT`) and two tables (`QUEEN.JAS`, `QUEEN2.JAS`). The name of a clip is the
position of its line, which connects text and sound.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARCHIVE_PATH = "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"
LICENCE = "LicenseRef-Flight-of-the-Amazon-Queen"
# Dialogue files, object tables and scenes name some characters differently.
ALIASES = {
    "AND": "ANDERSON",
    "APE": "GORILLA",
    "BELLBOY": "LARIS",
    "BOB": "TRADER BOB",
    "DEATH": "FERRYMAN",
    "DOG": "GUARD DOG",
    "JIM": "JIMMY",
    "JOE KING": "JOE",
    "LOU": "SKIP",
    "PRIN": "PRINCESS AZURA",
    "SEC": "SECRETARY",
    "SHOWERAM": "SHOWERING AMAZON",
    "WEDGE": "WEDGEWOOD",
    "WITCH": "WITCH DOCTOR",
}
# Tags of things: the speaker is unknown.
OBJECTS = frozenset(
    [
        *("NOTE", "PATH", "AZURA OBJ", "SMOKE", "TELEPHONE"),
        *("BUTTONS", "TORCH", "DOOR", "ROCK", "LILY PAD"),
    ]
)
_HEADER = 20  # bytes before the payload of a DOG, CUT or JAS entry
_MENUS, _MENU_BYTES = 32, 96  # where the menus of a DOG entry begin, and the size of one
_OBJECT_FIRST = 41  # JOE0041 is the first object description, JOE0001 the first stock answer
_STOCK_ANSWERS = 40
_LINES_BETWEEN = 12  # between the room names and the stock answers in QUEEN2.JAS


@dataclass(frozen=True, kw_only=True)
class VoicedLine:
    """One voiced line: its text, the character's tag, and the position of its MP3 bytes."""

    id: str
    text: str
    speaker: str
    scene: str  # the entry that holds the text
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class TreeMenu:
    """What Joe can say at one point of a dialogue tree."""

    head: int  # the choice that leads here
    choices: tuple[tuple[int, int], ...]  # each choice, and the head that follows without a menu


@dataclass(frozen=True, kw_only=True)
class DialogueTree:
    """The menus of one conversation; the first one is its beginning."""

    name: str  # the entry, without its suffix
    key: int  # the first number in the names of its clips
    menus: tuple[TreeMenu, ...]

    def node(self, choice: int) -> str:
        """Return what the names of the clips of a choice begin with."""
        return _node(self.key, choice)


class Archive:
    """The entries of `queen.1c`, by name."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        if self._data[:4] != b"QTBL" or self._data[12] != 1:
            raise ValueError(f"{path} is not the MP3 edition of queen.1c.")
        self.entries: dict[str, tuple[int, int]] = {}
        (count,) = struct.unpack_from(">H", self._data, 13)
        for place in range(15, 15 + 21 * count, 21):
            name = self._data[place : place + 12].rstrip(b"\0 ").decode("latin1")
            offset, size = struct.unpack_from(">II", self._data, place + 13)
            self.entries[name] = (offset, size)

    def read(self, name: str, skip: int = 0) -> bytes:
        offset, size = self.entries[name]
        return self._data[offset + skip : offset + size]

    def clips(self) -> list[VoicedLine]:
        """Return every voice clip that has a text, in the order of their names."""
        table = _Tables(self)
        lines: dict[str, tuple[str, str, str]] = {}
        for prefix, text, speaker, scene in _all_lines(self, table):
            for number, segment in enumerate(_segments(text), start=1):
                if segment.strip() not in ("", "0"):
                    name = f"{prefix}{number:x}".replace(" ", "0").upper()
                    lines.setdefault(name, (segment.strip(), speaker, scene))
        return [
            VoicedLine(
                id=name[:-3], text=text, speaker=speaker, scene=scene, offset=offset, size=size
            )
            for name, (offset, size) in sorted(self.entries.items())
            if name.endswith(".SB") and name[:-3] in lines
            for text, speaker, scene in [lines[name[:-3]]]
        ]

    def trees(self) -> list[DialogueTree]:
        """Return every dialogue tree, in the order of their names."""
        names = sorted(name for name in self.entries if name.endswith(".DOG"))
        return [_tree(name, self.read(name, _HEADER)) for name in names]


def pairs(clips: list[VoicedLine]) -> dict[str, tuple[str, str]]:
    """Map each node of a dialogue tree to Joe's last clip and the reply's first clip."""
    nodes: dict[str, dict[str, list[str]]] = {}
    for clip in clips:
        if clip.scene.endswith(".DOG") and clip.id[2:6] not in ("SSSS", "XXXX"):
            nodes.setdefault(clip.id[:6], {}).setdefault(clip.id[6], []).append(clip.id)
    return {
        node: (max(sides["J"]), min(sides["P"]))
        for node, sides in sorted(nodes.items())
        if "J" in sides and "P" in sides
    }


class _Tables:
    """The room, object and name tables; Joe's object descriptions and stock answers."""

    def __init__(self, archive: Archive) -> None:
        head = archive.read("QUEEN.JAS", _HEADER)
        rooms, names, objects, descriptions = struct.unpack_from(">4H", head, 0)
        self.objects: list[tuple[int, ...]] = [()]
        self.objects += [struct.unpack_from(">8h", head, 8 + 16 * i) for i in range(objects)]
        lines = archive.read("QUEEN2.JAS").decode("cp437").split("\n")
        lines = [line.rstrip("\r") for line in lines]
        self.descriptions = lines[:descriptions]
        self.names = ["", *lines[descriptions : descriptions + names]]
        first = descriptions + names + rooms + _LINES_BETWEEN
        self.stock = lines[first : first + _STOCK_ANSWERS]


_Line = tuple[str, str, str, str]  # clip-name prefix, text, speaker, scene


def _all_lines(archive: Archive, table: _Tables) -> Iterator[_Line]:
    for i, text in enumerate(table.descriptions):
        yield f"JOE{_OBJECT_FIRST + i:04d}", text, "JOE", "QUEEN2.JAS"
    for i, text in enumerate(table.stock, start=1):
        yield f"JOE{i:04d}", text, "JOE", "QUEEN2.JAS"
    for name in sorted(archive.entries):
        if name.endswith(".DOG"):
            yield from _dialogue_lines(name, archive.read(name, _HEADER))
        elif name.endswith(".CUT"):
            yield from _cut_scene_lines(name, archive.read(name, _HEADER), table)


def _node(key: int, choice: int) -> str:
    return f"{key:2d}{choice & 0xFFFF:4x}".replace(" ", "0").upper()


def _tree(name: str, data: bytes) -> DialogueTree:
    """Read the menus: six records of 16 bytes each, the first with the head of the menu.

    The second of the eight numbers of a record is the choice, the fourth the head that follows.
    """
    levels, _, key = struct.unpack_from(">3h", data, 0)
    menus = []
    for start in range(_MENUS, _MENUS + abs(levels) * _MENU_BYTES, _MENU_BYTES):
        (_, head, *_), *rows = struct.iter_unpack(">8h", data[start : start + _MENU_BYTES])
        menus.append(TreeMenu(head=head, choices=tuple((row[1], row[3]) for row in rows)))
    return DialogueTree(name=name.removesuffix(".DOG"), key=key, menus=tuple(menus))


def _dialogue_lines(name: str, data: bytes) -> Iterator[_Line]:
    levels, _, key, joe_count, other_count = struct.unpack_from(">5h", data, 0)
    (other_start,) = struct.unpack_from(">H", data, 22)
    (last_start,) = struct.unpack_from(">H", data, 26)
    other = re.sub(r"\d*\.DOG$", "", name)
    place = _MENUS + abs(levels) * _MENU_BYTES
    for i in range(joe_count + 1):
        if place + 4 > len(data) or place >= other_start:
            break
        (ident,) = struct.unpack_from(">h", data, place + 2)
        text, place = _string(data, place + 4, align=4)
        first = i == 0 and ident == 0
        yield f"{key:2d}SSSSJ" if first else f"{key:2d}{ident & 0xFFFF:4x}J", text, "JOE", name
    place = other_start
    for _ in range(other_count):
        if place + 4 > len(data):
            break
        (ident,) = struct.unpack_from(">h", data, place + 2)
        text, place = _string(data, place + 4, align=4)
        yield f"{key:2d}{ident & 0xFFFF:4x}P", text, other, name
    text, place = _string(data, last_start, align=2)
    yield f"{key:2d}XXXXP", text, other, name
    text, place = _string(data, place, align=2)
    yield f"{key:2d}XXXXJ", text, "JOE", name


def _cut_scene_lines(name: str, data: bytes, table: _Tables) -> Iterator[_Line]:
    (count,) = struct.unpack_from(">h", data, 2)
    (strings,) = struct.unpack_from(">H", data, 8)
    _, strings = _string(data, strings, align=2)
    place = 12
    for i in range(abs(count)):
        record = struct.unpack_from(">17h", data, place)
        place += 34
        (points,) = struct.unpack_from(">h", data, place)
        place += 2 + 2 * points
        text, strings = _string(data, strings, align=2)
        actor = 0 if record[0] in (-5, -6) else record[0]
        if _has_animation(record, actor, table):
            place = _skip_animation(data, place)
        if text.strip() and text != "*" and not text.startswith("#"):
            yield f"{name[:-4].ljust(5, '_')}{i + 1:02d}", text, _actor_name(actor, table), name


def _has_animation(record: tuple[int, ...], actor: int, table: _Tables) -> bool:
    animated, execute, source = record[4], record[5], record[12]
    is_person = actor == 0 or (actor > 0 and table.objects[actor][7] in (-3, -4))
    if is_person and not animated:
        return False
    return source <= 0 and record[0] not in (-2, -3, -4) and bool(execute)


def _skip_animation(data: bytes, place: int) -> int:
    while True:
        (head,) = struct.unpack_from(">h", data, place)
        place += 2
        if head == -2:
            return place
        place += 18


def _actor_name(actor: int, table: _Tables) -> str:
    if actor == 0:
        return "JOE"
    if actor < 0:
        return "NARRATOR"
    return table.names[abs(table.objects[actor][0])].upper()


def _string(data: bytes, place: int, *, align: int) -> tuple[str, int]:
    """Read a length byte and its text; after a non-empty text the next position is aligned."""
    length, place = data[place], place + 1
    if not length:
        return "", place
    text = data[place : place + length].decode("cp437")
    return text, (place + length + align - 1) & ~(align - 1)


def _segments(line: str) -> list[str]:
    """Split at `*XX` commands: each piece between two commands has its own voice clip."""
    pieces, current, place = [], "", 0
    while place < len(line):
        if line[place] != "*":
            current += line[place]
            place += 1
            continue
        place += 1
        place += 13 if line[place : place + 2] == "XY" else 2
        pieces.append(current)
        current = ""
    return [*pieces, current] if current else pieces
