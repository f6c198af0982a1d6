"""CMU AN4: `etc/an4_train.transcription` with lines `TEXT (an251-fash-b)`, and sound in `wav/`.

`etc/an4_train.fileids` says in which folder a file is. The speaker is the middle of its name.
Sound is NIST SPHERE, or samples without a header in either byte order, as the archives have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    Decoded,
    FileSound,
    Format,
    Recording,
    read_text,
)
from microturn.model.streams.pcm import from_pcm16
from microturn.model.streams.sound_file import SoundError, SoundTooLong

_RAW_HZ = 16_000
_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<file>[\w-]+)\)\s*")
_TABLES = {"train": "an4_train.transcription", "test": "an4_test.transcription"}


@dataclass(frozen=True, kw_only=True)
class RawSound:
    """16-bit samples without a header; the byte order in which they are smoother is theirs."""

    path: Path

    @property
    def place(self) -> str:
        return str(self.path)

    def decode(self, *, longest_s: float = inf) -> Decoded:
        data = self.path.read_bytes()
        if not data or len(data) % 2:
            raise SoundError(f"it has {len(data)} bytes, which are no samples of two bytes each")
        if len(data) > 2 * _RAW_HZ * longest_s:
            raise SoundTooLong(f"it is {len(data) / 2 / _RAW_HZ:.1f} s long")
        orders = [
            from_pcm16(np.frombuffer(data, order).astype(np.int16)) for order in ("<i2", ">i2")
        ]
        audio = min(orders, key=lambda samples: float(np.square(np.diff(samples)).sum()))
        return Decoded(audio=audio, rate=_RAW_HZ)


def _root(root: Path) -> Path | None:
    """Return the folder that holds `etc`: the one given, or that of the archive within."""
    places = (root, *sorted(path for path in root.glob("*") if path.is_dir()))
    return next((p for p in places if (p / "etc" / _TABLES["train"]).is_file()), None)


def _matches(root: Path) -> bool:
    return root.is_dir() and _root(root) is not None


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    folder = _root(root)
    assert folder is not None  # it matches
    found = sorted(path for path in files_below(folder / "wav") if path.is_file())
    files = {path.stem: path for path in found if path.suffix.lower() in (*AUDIO_SUFFIXES, ".raw")}
    for split, table in _TABLES.items():
        path = folder / "etc" / table
        lines = lines_of(read_text(path)) if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                yield Recording(
                    id=f"{path.stem}-{number:04d}",
                    sound=FileSound(path=path),
                    text="",
                    problem=f"line {number}: it does not end with the name of a file in brackets",
                )
                continue
            name = match["file"]
            place = files.pop(name, folder / "wav" / f"{name}.sph")
            is_raw = place.suffix.lower() == ".raw"
            yield Recording(
                id=name,
                sound=RawSound(path=place) if is_raw else FileSound(path=place),
                text=re.sub(r"</?s>|<sil>", " ", match["text"]).strip().lower(),
                speaker=name.split("-")[1] if name.count("-") > 1 else "",
                split=split,
            )
    for name, place in files.items():  # without a line: they have no text
        yield Recording(id=name, sound=FileSound(path=place), text="")


AN4 = Format(
    name="an4",
    sign="etc/an4_train.transcription and wav/",
    licence="LicenseRef-CMU-AN4",
    language="en",
    matches=_matches,
    read=_read,
)
