"""Reads the game *Fish Fillets*: two fish in conversation, and the order in which they speak.

Texts are in `dialogs_LANGUAGE.lua` of every level; its `code.lua` says who speaks after whom:
`addm` and `addv` queue a line of the small or the big fish, `planDialog` one of either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.conversations.parts import DialogueParts
from microturn.datagen.corpora.recordings import FileSound, Recording, read_text

FISH: Final = {"font_small": "small-fish", "font_big": "big-fish"}
_FOLDER: Final = "usr/share/games/fillets-ng"
_LINE: Final = re.compile(
    r'dialogId\("([^"]+)",\s*"([^"]*)",\s*"(?:[^"\\]|\\.)*"\)\s*dialogStr\("((?:[^"\\]|\\.)*)"\)'
)
_CALL: Final = re.compile(r'\b(?:add[mv]|planDialog)\(.*?"([^"]+)"(\s*\.\.)?')
_OPENING: Final = re.compile(r"(\bthen|\belse|\bdo|function\(.*\))$")


def recordings(root: Path, language: str) -> Iterator[Recording]:
    """Yield the lines of both fish; both are trained on, since they talk with one another."""
    for script in _scripts(root, language):
        level = script.parent.name
        for name, (fish, text) in _lines(script).items():
            sound = root / _FOLDER / "sound" / level / language / f"{name}.ogg"
            if sound.is_file():
                yield Recording(
                    id=f"{level}/{name}",
                    sound=FileSound(path=sound),
                    text=text,
                    speaker=f"fillets-{language}-{fish}",
                    split="train",
                )


def dialogues(root: Path, language: str) -> Iterator[DialogueParts]:
    """Yield what the fish say to one another, by level in the order of its program."""
    for script in _scripts(root, language):
        level, code = script.parent.name, script.with_name("code.lua")
        if code.is_file():
            found = _conversations(read_text(code), _lines(script))
            for number, names in enumerate(found, start=1):
                parts = tuple((f"{level}/{name}",) for name in names)
                yield DialogueParts(id=f"{level}-{number}", parts=parts)


def _scripts(root: Path, language: str) -> list[Path]:
    return sorted((root / _FOLDER / "script").glob(f"*/dialogs_{language}.lua"))


def _lines(script: Path) -> dict[str, tuple[str, str]]:
    """Return fish and text of the lines of a level, by name."""
    return {
        name: (FISH[font], text.replace('\\"', '"'))
        for name, font, text in _LINE.findall(read_text(script))
        if font in FISH
    }


def _conversations(code: str, lines: Mapping[str, tuple[str, str]]) -> Iterator[list[str]]:
    """Yield the names of lines that are queued together, of both fish, each line once.

    Two calls belong together if they stand in one block, or one of them in a block inside the
    other's: what is said now and then is part of what is always said, alternatives are not.
    """
    names: list[str] = []
    used: set[str] = set()
    before: tuple[int, ...] = ()
    for block, name in _calls(code, lines, used):
        shared = min(len(block), len(before))
        if block[:shared] != before[:shared]:
            if _is_conversation(names, lines):
                yield names
            names = []
        names.append(name)
        used.add(name)
        before = block
    if _is_conversation(names, lines):
        yield names


def _is_conversation(names: list[str], lines: Mapping[str, tuple[str, str]]) -> bool:
    return len({lines[name][0] for name in names}) > 1


def _calls(
    code: str, lines: Mapping[str, tuple[str, str]], used: set[str]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the unused lines that are queued, with the numbers of the lines that open the blocks.

    Blocks are told by indentation. Of lines whose names end in a computed number it is the first.
    """
    blocks: list[tuple[int, int]] = []  # indentation, and number of the line
    for number, row in enumerate(lines_of(code)):
        text = row.strip()
        if not text or text.startswith("--"):
            continue
        depth = len(row) - len(row.lstrip())
        while blocks and blocks[-1][0] >= depth:
            blocks.pop()
        for name, computed in _CALL.findall(row):
            found = _first_numbered(name, lines, used) if computed else name
            if found in lines and found not in used:
                yield tuple(opening for _, opening in blocks), found
        if _OPENING.search(text):
            blocks.append((depth, number))


def _first_numbered(name: str, lines: Mapping[str, tuple[str, str]], used: set[str]) -> str:
    numbered = re.compile(rf"{re.escape(name)}\d+")
    return next((n for n in sorted(lines) if numbered.fullmatch(n) and n not in used), name)
