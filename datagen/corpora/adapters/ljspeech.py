"""LJSpeech: `metadata.csv` (id|text|normalised text) and `wavs/`; one speaker.

Others write a speaker in the third column: it is that of the text if it says the same in most
lines, else the speaker's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.adapters.fields import find_audio
from microturn.datagen.corpora.adapters.table import header_of
from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    FileSound,
    Format,
    Recording,
    read_text,
)

_COMPARED = 200  # lines that tell what the third column is
_MIN_SIMILARITY = 0.5  # of a text and its normalised form


def _matches(root: Path) -> bool:
    table = root / "metadata.csv"
    return table.is_file() and (root / "wavs").is_dir() and not header_of(table)


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    lines = enumerate(lines_of(read_text(root / "metadata.csv")), start=1)
    # Not quoted: quotation marks are part of the text.
    rows = [(number, line.split("|")) for number, line in lines if line.strip()]
    has_speakers = _has_speakers([cells for _, cells in rows])
    listed = set()
    for number, (name, *cells) in rows:
        path = find_audio(root / "wavs", name.strip())
        listed.add(path.stem)
        known = len(cells) <= (2 if has_speakers is not None else 1) and bool(name.strip())
        texts = cells[:1] if has_speakers else cells[::-1]
        yield Recording(
            id=name.strip() or f"metadata-{number:07d}",
            sound=FileSound(path=path),
            text=next((text.strip() for text in texts if text.strip()), ""),
            speaker=(cells[1].strip() if len(cells) > 1 else "") if has_speakers else "reader",
            split="" if has_speakers else "train",  # one voice: no speaker to hold out
            problem="" if known else _unknown(number, cells),
        )
    for path in sorted((root / "wavs").glob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.stem not in listed:
            yield Recording(id=path.stem, sound=FileSound(path=path), text="")


def _unknown(number: int, cells: Sequence[str]) -> str:
    return (
        f"line {number} of metadata.csv has {len(cells) + 1} cells of unknown meaning; "
        "give it a header, as file_name|text|speaker"
    )


def _has_speakers(rows: Sequence[Sequence[str]]) -> bool | None:
    """Tell whether the third column holds speakers; None if it is neither they nor the text."""
    pairs = [row[1:3] for row in rows if len(row) == 3 and row[2].strip()][:_COMPARED]
    if sum(_similar(text, third) for text, third in pairs) >= len(pairs) / 2:
        return False
    return True if not any(" " in third.strip() for _, third in pairs) else None


def _similar(text: str, third: str) -> bool:
    return SequenceMatcher(None, text.lower(), third.lower()).ratio() >= _MIN_SIMILARITY


LJSPEECH = Format(
    name="ljspeech",
    sign="metadata.csv and wavs/",
    licence="LicenseRef-Public-Domain",
    language="en",
    matches=_matches,
    read=_read,
)
