"""JSONL manifests: one object per recording, with the field names of NeMo and others.

Every field has a few usual names; `columns.FIELD=NAME` sets another. Paths are relative to the
manifest. `words` may have any shape that `word_times.py` reads. Without a manifest in the folder
itself, the `metadata.jsonl` of its subfolders are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.adapters.fields import (
    channel_field,
    check_columns,
    field,
    find_audio,
    span_fields,
    text_field,
)
from microturn.datagen.corpora.recordings import (
    FileSound,
    Format,
    Recording,
    read_text,
    split_folder,
    split_named,
)
from microturn.datagen.corpora.word_times import words_from_json


def manifests(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() in (".jsonl", ".json") else []
    found = sorted(path for path in root.glob("*") if path.suffix.lower() == ".jsonl")
    found = found or sorted(root.glob("*manifest*.json"))
    return found or sorted(path for path in files_below(root) if path.name == "metadata.jsonl")


def _matches(root: Path) -> bool:
    return any(_first_row(path) for path in manifests(root))


def _first_row(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline()
    try:
        return isinstance(json.loads(line.decode("utf-8-sig", errors="replace")), dict)
    except ValueError:
        return False


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    check_columns(columns)
    for path in manifests(root):
        for number, line in enumerate(lines_of(read_text(path)), start=1):
            if line.strip():
                yield _of_line(path, root, number, line, columns)


def _of_line(path: Path, root: Path, number: int, line: str, columns: dict[str, str]) -> Recording:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("its line is no object")
    except ValueError as error:
        return faulty_row(path, number, str(error))
    return recording_of_row(path, root, number, row, columns)


def recording_of_row(
    path: Path,
    root: Path,
    number: int,
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    *,
    folders: Sequence[str] = (),
) -> Recording:
    """Convert one row of a manifest or table, whose files are beside it or in these folders."""
    try:
        audio = field(row, "audio", columns=columns)
        if not isinstance(audio, str):
            raise ValueError("its line names no audio file")
        start_s, end_s = span_fields(row, columns=columns)
        channel = channel_field(row, columns=columns)
        side = "" if channel is None else f"-{channel}"
        return Recording(
            id=text_field(row, "id", columns=columns) or _file_name(audio),
            row=f"{start_s:g}{side}" if start_s or end_s or side else "",
            sound=FileSound(
                path=find_audio(path.parent, audio, below=folders),
                start_s=start_s,
                end_s=end_s,
                channel=channel,
            ),
            text=text_field(row, "text", columns=columns),
            speaker=text_field(row, "speaker", columns=columns),
            language=text_field(row, "language", columns=columns),
            licence=text_field(row, "licence", columns=columns),
            split=split_named(text_field(row, "split", columns=columns)) or _split(path, root),
            words=words_from_json(field(row, "words", columns=columns)),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return faulty_row(path, number, str(error))


def _file_name(audio: str) -> str:
    """Return the id of a recording without one: the path of its file from the manifest."""
    path = Path(audio).with_suffix("")
    return path.name if path.is_absolute() else path.as_posix()


def _name(path: Path, number: int) -> str:
    return f"{path.stem}-{number:07d}"


def faulty_row(path: Path, number: int, reason: str) -> Recording:
    problem = f"line {number}: {reason}"
    return Recording(id=_name(path, number), sound=FileSound(path=path), text="", problem=problem)


def _split(path: Path, root: Path) -> str:
    """Return the split that the name of a manifest or of the folders around it states."""
    parts = (path.stem, *path.relative_to(root).parts[-2::-1])
    return next((split for part in parts if (split := split_folder(part))), "")


JSONL = Format(
    name="jsonl",
    sign="a .jsonl manifest with one object per line",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
    named_columns=True,
)
