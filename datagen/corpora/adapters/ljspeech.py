"""LJSpeech: `metadata.csv` (id|text|normalised text) and `wavs/`; one speaker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.recordings import FileSound, Format, Recording, read_text


def _matches(root: Path) -> bool:
    return (root / "metadata.csv").is_file() and (root / "wavs").is_dir()


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    for line in lines_of(read_text(root / "metadata.csv")):
        name, *texts = line.split("|")  # not quoted: quotation marks are part of the text
        if not name.strip():
            continue
        yield Recording(
            id=name,
            sound=FileSound(path=root / "wavs" / f"{name}.wav"),
            text=texts[-1].strip() if texts else "",
            speaker="reader",
            split="train",  # one voice: no speaker to hold out
        )


LJSPEECH = Format(
    name="ljspeech",
    sign="metadata.csv and wavs/",
    licence="LicenseRef-Public-Domain",
    language="en",
    matches=_matches,
    read=_read,
)
