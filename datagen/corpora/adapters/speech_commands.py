"""Speech Commands: a folder per word, `yes/0a2b400e_nohash_0.wav`; the speaker is in the name.

The test set has further words in `_unknown_`, each with its word first:
`bird_a4383927_nohash_0.wav.wav`. What has no word (`_silence_`, `_background_noise_`) is noise.
`validation_list.txt` and `testing_list.txt` state the split, which is one of speakers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    FileSound,
    Format,
    Recording,
    read_text,
)

_NAME = re.compile(r"(?:(?P<word>[a-z]+)_)?(?P<speaker>[0-9a-f]{8})_nohash_(?P<take>\d+)(?:\.\w+)+")
_LISTS = ("validation_list.txt", "testing_list.txt")


def _matches(root: Path) -> bool:
    return root.is_dir() and any(_NAME.fullmatch(path.name) for path in root.glob("*/*_nohash_*"))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    held_out = {
        line.strip()
        for name in _LISTS
        if (root / name).is_file()
        for line in lines_of(read_text(root / name))
    }
    for path in sorted(root.glob("*/*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        folder, name = path.parent.name, _NAME.fullmatch(path.name)
        noise = folder.startswith("_") and (name is None or not name["word"])
        speaker = name["speaker"] if name else ""
        text = "" if noise else (name and name["word"]) or folder
        yield Recording(
            id=f"{text or folder}-{speaker}-{name['take']}" if name else f"{folder}-{path.stem}",
            sound=FileSound(path=path),
            text=text,
            speaker=speaker,
            split=_side(f"{folder}/{path.name}", held_out),
            problem="" if name or noise else "its name does not say who speaks",
        )


def _side(place: str, held_out: set[str]) -> str:
    """Return the side that the lists state; without lists none is stated."""
    return "" if not held_out else "test" if place in held_out else "train"


SPEECH_COMMANDS = Format(
    name="speech_commands",
    sign="WORD/SPEAKER_nohash_TAKE.wav",
    licence="CC-BY-4.0",
    language="en",
    matches=_matches,
    read=_read,
)
