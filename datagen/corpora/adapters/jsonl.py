"""JSONL manifests: one object per recording, with the field names of NeMo and others.

Every field has a few usual names; `columns.FIELD=NAME` sets another. Paths are relative to the
manifest. `words` may have any shape that `word_times.py` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.recordings import (
    FileSound,
    Format,
    Recording,
    read_text,
    split_named,
)
from microturn.datagen.corpora.word_times import words_from_json

# Usual names of each field in manifests and tables.
NAMES: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "audio_filepath", "path", "wav", "file", "audio_path", "filename"),
    "text": ("text", "transcript", "transcription", "sentence", "normalized_text", "raw_text"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id", "speaker_name"),
    "language": ("language", "lang", "locale"),
    "licence": ("licence", "license"),
    "split": ("split", "subset"),
    "id": ("id", "utterance_id", "utt_id", "uniq_id", "key"),
    "words": ("words", "alignment", "alignments", "word_timestamps"),
    "start": ("offset", "start"),
    "duration": ("duration",),
    "channel": ("channel",),
}


def field(row: Mapping[str, Any], name: str, *, columns: Mapping[str, str]) -> Any:
    """Return the value of a field by its configured name or a usual one; None if missing."""
    names = (columns[name],) if name in columns else NAMES[name]
    return next((row[key] for key in names if row.get(key) is not None), None)


def check_columns(columns: Mapping[str, str]) -> None:
    for name in columns:
        if name not in NAMES:
            raise ValueError(f"columns.{name} is not a field; known fields are {', '.join(NAMES)}")


def manifests(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix in (".jsonl", ".json") else []
    return sorted(root.glob("*.jsonl")) or sorted(root.glob("*manifest*.json"))


def _matches(root: Path) -> bool:
    return any(_first_row(path) for path in manifests(root))


def _first_row(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline()
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    check_columns(columns)
    for path in manifests(root):
        for number, line in enumerate(lines_of(read_text(path)), start=1):
            if line.strip():
                yield _recording(path, number, line, columns)


def _recording(path: Path, number: int, line: str, columns: dict[str, str]) -> Recording:
    name = f"{path.stem}-{number:07d}"
    try:
        row = json.loads(line)
        audio = field(row, "audio", columns=columns)
        if not isinstance(audio, str):
            raise ValueError("its line names no audio file")
        start_s = float(field(row, "start", columns=columns) or 0.0)
        duration = field(row, "duration", columns=columns)
        parted = field(row, "start", columns=columns) is not None and duration is not None
        channel = field(row, "channel", columns=columns)
        return Recording(
            id=str(field(row, "id", columns=columns) or name),
            sound=FileSound(
                path=path.parent / audio,
                start_s=start_s,
                end_s=start_s + float(duration) if parted else None,
                channel=None if channel is None else int(channel),
            ),
            text=str(field(row, "text", columns=columns) or ""),
            speaker=str(field(row, "speaker", columns=columns) or ""),
            language=str(field(row, "language", columns=columns) or ""),
            licence=str(field(row, "licence", columns=columns) or ""),
            split=split_named(str(field(row, "split", columns=columns) or ""))
            or split_named(path.stem),
            words=words_from_json(field(row, "words", columns=columns)),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        sound = FileSound(path=path)
        return Recording(id=name, sound=sound, text="", problem=f"line {number}: {error}")


JSONL = Format(
    name="jsonl",
    sign="a .jsonl manifest with one object per line",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
)
