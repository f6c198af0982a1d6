"""Telephone calls on two channels, as of Fisher and Switchboard: NIST SPHERE and its transcripts.

Fisher and CallHome have one text for each call, lines of `start end A: text`; Switchboard has the
word files of Mississippi State University (`sw2001A-ms98-a-word.text`), one for each side. Who the
callers are stands in `*calldata.tbl` and `conv_tab.csv`, if these are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
    DescribedSide,
)
from microturn.datagen.corpora.conversations.layouts.segment_words import Words, segment
from microturn.datagen.corpora.conversations.layouts.sounds import n_channels
from microturn.datagen.corpora.recordings import AUDIO_SUFFIXES, FileSound, read_text
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.time_classes import GIVEN

_SIDES = ("A", "B")  # channels 0 and 1
_SWITCHBOARD = re.compile(r"sw0?(\d{4})", re.IGNORECASE)
_ENGLISH = re.compile(r"fe_03_\d{5}|sw\d{4}")
_WORD_FILE = re.compile(r"sw0?(\d{4})([AB])-ms98-a-word\.text", re.IGNORECASE)
_LINE = re.compile(r"(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s+([AB])\d*:(.*)")  # CallHome: A1, A2
_SILENCE = "[silence]"
_PROBED_TEXTS = 50  # a folder whose first texts are none of calls is not searched further
_HEAD = 4096  # bytes


@dataclass
class _CallFiles:
    """Paths of a tree by call: sound and texts often stand in trees of their own."""

    sounds: dict[str, list[Path]] = field(default_factory=dict)
    texts: dict[str, Path] = field(default_factory=dict)
    words: dict[str, dict[str, Path]] = field(default_factory=dict)
    people: dict[str, tuple[str, str]] = field(default_factory=dict)

    @staticmethod
    def of(root: Path) -> _CallFiles:
        found = _CallFiles()
        for path in files_below(root):
            name, suffix = path.name.lower(), path.suffix.lower()
            if match := _WORD_FILE.fullmatch(path.name):
                found.words.setdefault(f"sw{match[1]}", {}).setdefault(match[2].upper(), path)
            elif suffix in AUDIO_SUFFIXES:
                found.sounds.setdefault(_call(path.stem), []).append(path)
            elif suffix == ".txt":
                found.texts.setdefault(_call(path.stem), path)
            elif name.endswith("calldata.tbl"):
                found.people |= _fisher_people(path)
            elif name in ("conv_tab.csv", "conv.tab"):
                found.people |= _switchboard_people(path)
        return found


def _call(stem: str) -> str:
    match = _SWITCHBOARD.fullmatch(stem)
    return f"sw{match[1]}" if match else stem.lower()


def _fisher_people(path: Path) -> dict[str, tuple[str, str]]:
    """Read `CALL_ID,...,APIN,...,BPIN,...`: the numbers of the people."""
    lines = [line for line in lines_of(read_text(path)) if line.strip()]
    header, *rows = [line.split(",") for line in lines or [""]]
    if lacking := {"CALL_ID", "APIN", "BPIN"}.difference(header):
        raise ValueError(f"{path} lacks the columns {', '.join(sorted(lacking))}")
    places = [header.index(name) for name in ("CALL_ID", "APIN", "BPIN")]
    cells = ([row[place].strip() for place in places] for row in rows if len(row) > max(places))
    return {f"fe_03_{call}": (a, b) for call, a, b in cells if a and b}


def _switchboard_people(path: Path) -> dict[str, tuple[str, str]]:
    """Read `2001,Y,1020,1044,...`: the call, and the two callers in the third and fourth place."""
    rows = ([cell.strip() for cell in line.split(",")] for line in lines_of(read_text(path)))
    return {f"sw{row[0]}": (row[2], row[3]) for row in rows if len(row) > 3 and row[0].isdecimal()}


def _matches(root: Path) -> bool:
    if not root.is_dir():
        return False
    has_sound, has_text, n_probed = False, False, 0
    for path in files_below(root):
        suffix = path.suffix.lower()
        has_sound = has_sound or suffix in AUDIO_SUFFIXES
        if not has_text and suffix == ".txt" and n_probed < _PROBED_TEXTS:
            has_text, n_probed = _is_call_text(path), n_probed + 1
        has_text = has_text or bool(_WORD_FILE.fullmatch(path.name))
        if has_sound and has_text:
            return True
    return False


def _is_call_text(path: Path) -> bool:
    with path.open("rb") as file:
        lines = lines_of(file.read(_HEAD).decode("utf-8-sig", errors="replace"))
    said = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return bool(_LINE.match(next(said, "")))


def _read(root: Path, columns: dict[str, str]) -> Iterator[DescribedConversation]:
    files = _CallFiles.of(root)
    for call in sorted(files.sounds):
        yield _conversation(call, files)
    for call in sorted({*files.words, *files.texts}.difference(files.sounds)):
        beside = [files.texts[call]] if call in files.texts else list(files.words[call].values())
        if call in files.words or _is_call_text(beside[0]):
            yield DescribedConversation(
                id=call, problem=f"{beside[0].name} has no sound: a file {call}.sph is missing"
            )


def _conversation(call: str, files: _CallFiles) -> DescribedConversation:
    path, *more = files.sounds[call]
    try:
        if more:
            raise ValueError(f"{path} and {more[0]} are the same call by their names; keep one")
        words = _said(call, files)
        _check_sound(path)
    except (ValueError, OSError) as error:
        return DescribedConversation(id=call, problem=str(error))
    people = files.people.get(call, ("", ""))
    return DescribedConversation(
        id=call,
        sides=tuple(
            DescribedSide(
                speaker=person,
                sound=FileSound(path=path, channel=channel),
                words=words.get(side, ()),
            )
            for channel, (side, person) in enumerate(zip(_SIDES, people, strict=True))
        ),
        language="en" if _ENGLISH.fullmatch(call) else "",
    )


def _check_sound(path: Path) -> None:
    n = n_channels(path)
    if n != len(_SIDES):
        raise ValueError(
            f"{path.name} has {n} channel{'s' * (n > 1)}, and a call has two, one for each person"
        )


def _said(call: str, files: _CallFiles) -> dict[str, Words]:
    """Return the words of each side; none where the corpus has no transcript of the call."""
    if own := files.words.get(call):
        if lacking := set(_SIDES).difference(own):
            side, other = lacking.pop(), next(iter(own.values()))
            raise ValueError(f"{other.name} is there, and the word file of side {side} is missing")
        return {side: _switchboard_words(path) for side, path in own.items()}
    return _fisher_lines(files.texts[call]) if call in files.texts else {}


def _fisher_lines(path: Path) -> dict[str, Words]:
    """Read `start end A: text`; lines of # are comments."""
    said: dict[str, list[AlignedWord]] = {}
    for number, line in enumerate(map(str.strip, lines_of(read_text(path))), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{path.name}, line {number}: {line[:40]!r} is not `start end A: text`"
            )
        start, end, side, text = match.groups()
        said.setdefault(side, []).append(segment(text, float(start), float(end)))
    return {side: tuple(words) for side, words in said.items()}


def _switchboard_words(path: Path) -> Words:
    """Read `sw2001A-ms98-a-0001 start end word`; its silences are no words."""
    words = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        cells = line.split(maxsplit=3)
        if not cells:
            continue
        try:
            _, start, end, text = cells
            word = AlignedWord(
                text=text.strip(), start_s=float(start), end_s=float(end), times=GIVEN
            )
        except ValueError as error:
            raise ValueError(
                f"{path.name}, line {number}: {line.strip()[:40]!r} is not `id start end word`"
            ) from error
        if word.text != _SILENCE:
            words.append(word)
    return tuple(words)


SPH = ConversationFormat(
    name="sph",
    sign="calls of two channels (.sph) with lines `start end A: text` or `*-ms98-a-word.text`",
    matches=_matches,
    read=_read,
)
