"""Fields of manifests and tables: their usual names, and values as they are meant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from microturn.datagen.corpora.recordings import AUDIO_SUFFIXES
from microturn.datagen.corpora.word_times import channel_numbers

# Usual names of each field in manifests and tables.
NAMES: dict[str, tuple[str, ...]] = {
    "audio": (
        *("audio", "audio_filepath", "path", "wav", "file", "audio_path", "filename"),
        *("file_name", "audio_file", "file_path"),
    ),
    "text": ("text", "transcript", "transcription", "sentence", "normalized_text", "raw_text"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id", "speaker_name"),
    "language": ("language", "lang", "locale"),
    "licence": ("licence", "license"),
    "split": ("split", "subset"),
    "id": ("id", "utterance_id", "utt_id", "uniq_id", "key"),
    "words": ("words", "alignment", "alignments", "word_timestamps"),
    "start": ("offset", "start", "start_time", "begin_time"),
    "end": ("end", "end_time"),
    "duration": ("duration",),
    "channel": ("channel",),
}
_TO_THE_END = -1.0  # as the end or the duration of a part
_TOLERANCE_S = 0.05  # between an end and the duration beside it


def check_columns(columns: Mapping[str, str]) -> None:
    for name in columns:
        if name not in NAMES:
            raise ValueError(f"columns.{name} is not a field; known fields are {', '.join(NAMES)}")


def field(row: Mapping[str, Any], name: str, *, columns: Mapping[str, str]) -> Any:
    """Return the value of a field by its configured name or a usual one; None if missing."""
    names = (columns[name],) if name in columns else NAMES[name]
    return next((row[key] for key in names if not _missing(row.get(key))), None)


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def text_field(row: Mapping[str, Any], name: str, *, columns: Mapping[str, str]) -> str:
    """Return a field as text, "" if missing; a speaker that a table made 7.0 of is 7."""
    text = as_text(field(row, name, columns=columns))
    return re.sub(r"(?<=\d)\.0$", "", text) if name in ("id", "speaker") else text


def as_text(value: Any) -> str:
    """Return a value as text, "" for a missing one; 0 is a value."""
    return "" if _missing(value) else str(value).strip()


def span_fields(
    row: Mapping[str, Any], *, columns: Mapping[str, str]
) -> tuple[float, float | None]:
    """Return the start and end of a part, None for the end of its file; ValueError if neither."""
    start, end, duration = (
        None if (value := field(row, name, columns=columns)) is None else float(value)
        for name in ("start", "end", "duration")
    )
    duration = None if duration == _TO_THE_END else duration
    if start is None and end is None:
        return 0.0, None  # the duration is that of the file
    start = start or 0.0
    stated = None if duration is None else start + duration
    if end == _TO_THE_END or end is None:
        end = stated
    if not (0 <= start < math.inf and (end is None or start < end < math.inf)):
        until = "its end" if end is None else f"{end:g} s"
        raise ValueError(f"it goes from {start:g} s to {until}")
    if end is not None and stated is not None and abs(end - stated) > _TOLERANCE_S:
        raise ValueError(f"it ends at {end:g} s, but its duration {duration:g} s says {stated:g} s")
    return start, end


def channel_field(row: Mapping[str, Any], *, columns: Mapping[str, str]) -> int | None:
    """Return the number of a channel from 0, or of its letter; None if it is not stated."""
    value = text_field(row, "channel", columns=columns)
    if value.isalpha():
        return channel_numbers({value, "0"})[value]
    return int(float(value)) if value else None


def find_audio(folder: Path, name: str, *, below: Sequence[str] = ()) -> Path:
    """Return the audio file of a name, with or without its suffix, whatever its case.

    It is in the folder, or in one of those below it.
    """
    endings = ["", *(s for suffix in AUDIO_SUFFIXES for s in (suffix, suffix.upper()))]
    folders = (folder, *(folder / part for part in below))
    paths = (place / f"{name}{ending}" for place in folders for ending in endings)
    return next((path for path in paths if path.is_file()), folder / name)
