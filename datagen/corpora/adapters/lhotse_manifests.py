"""Lhotse manifests: `*recordings*.jsonl[.gz]` with `*supervisions*.jsonl[.gz]`, or `*cuts*`.

They are JSON and read without lhotse.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from microturn.configs.reading import decoded_text
from microturn.datagen.corpora.adapters.fields import as_text
from microturn.datagen.corpora.recordings import FileSound, Format, Recording, split_named
from microturn.datagen.corpora.utterance import AlignedWord

Row = dict[str, Any]
_TOLERANCE_S = 0.1  # of words after their supervision, and of supervisions after their recording
_UNSUPERVISED = "it has no supervision, so nobody says what is spoken"


def _files(root: Path, kind: str) -> list[Path]:
    if root.is_file():
        return [root] if kind in root.name and ".jsonl" in root.name else []
    return sorted(p for p in root.glob(f"*{kind}*") if p.name.endswith((".jsonl", ".jsonl.gz")))


def _matches(root: Path) -> bool:
    pairs = _files(root, "recordings") and _files(root, "supervisions")
    return bool(pairs or _files(root, "cuts"))


def _rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file:
            if line.strip():
                yield json.loads(decoded_text(line, path))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    if cuts := _files(root, "cuts"):
        cut_of: dict[tuple[str, str], str] = {}  # of a supervision of a recording
        for path in cuts:
            for cut in _rows(path):
                yield from _of_cut(cut, path, cut_of)
        return
    recordings = {row["id"]: row for path in _files(root, "recordings") for row in _rows(path)}
    unused = dict(recordings)
    for path in _files(root, "supervisions"):
        for row in _rows(path):
            unused.pop(row["recording_id"], None)
            yield _recording(row, recordings.get(row["recording_id"]), path, offset=0.0)
    for name in unused:
        yield Recording(id=name, sound=FileSound(path=root), text="", problem=_UNSUPERVISED)


def _of_cut(cut: Row, path: Path, cut_of: dict[tuple[str, str], str]) -> Iterator[Recording]:
    """Yield the supervisions of a cut; their times count from its start.

    A window may begin or end inside a sentence: the sentence is taken whole, from its recording,
    and once.
    """
    name, rows = as_text(cut["id"]), cut.get("supervisions") or ()
    problem = "" if rows else _UNSUPERVISED
    if "recording" not in cut:
        problem = f"it is a {cut.get('type', 'cut')}, and only plain recordings are read"
    if problem:
        yield Recording(id=name, sound=FileSound(path=path), text="", problem=problem)
        return
    for number, row in enumerate(rows):
        one = f"{name}-{number}" if len(rows) > 1 else name
        first = cut_of.setdefault((cut["recording"]["id"], row["id"]), one)
        problem = "" if first == one else f"its sentence is that of {first}, which is taken whole"
        recording = _recording(row, cut["recording"], path, offset=cut["start"])
        yield replace(recording, id=one, problem=recording.problem or problem)


def _recording(row: Row, recording: Row | None, path: Path, *, offset: float) -> Recording:
    """Convert one supervision; its times count from `offset`."""
    split = next((s for part in path.name.split("_")[::-1] if (s := _split(part))), "")
    start, end = offset + row["start"], offset + row["start"] + row["duration"]
    sound, problem = _sound(row, recording, path, (start, end))
    return Recording(
        id=as_text(row["id"]),
        sound=sound,
        file_id=as_text(row.get("recording_id")),
        text=as_text(row.get("text")),
        speaker=as_text(row.get("speaker")),
        language=_language(row.get("language") or ""),
        split=split,
        words=_words(row, offset),
        problem=problem,
    )


def _words(row: Row, offset: float) -> tuple[AlignedWord, ...]:
    """Return word times from the start of a supervision.

    In some cuts they count from the start of the cut, as the supervision does; in cuts trimmed by
    lhotse they still count from the start of the recording.
    """
    items = [item for item in (row.get("alignment") or {}).get("word", ()) if item[0]]
    if not items:
        return ()
    start = row["start"]
    if items[-1][1] + items[-1][2] > start + row["duration"] + _TOLERANCE_S:
        start += offset
    return tuple(
        AlignedWord(
            text=item[0], start_s=max(0.0, item[1] - start), end_s=item[1] + item[2] - start
        )
        for item in items
    )


def _sound(
    row: Row, recording: Row | None, path: Path, span: tuple[float, float]
) -> tuple[FileSound, str]:
    """Return the reference to the audio, and the reason if it cannot be read."""
    if recording is None:
        return FileSound(path=path), f"there is no recording {row['recording_id']}"
    channel = row.get("channel", 0)
    channel = channel[0] if isinstance(channel, list) else channel
    sources = [s for s in recording["sources"] if channel in s["channels"]]
    if not sources or sources[0]["type"] != "file":
        kind = sources[0]["type"] if sources else "nothing"
        return FileSound(path=path), f"its sound is of the type {kind}, and only files are read"
    if recording.get("transforms"):
        return FileSound(path=path), "its recording has transforms, which are not applied"
    source: Mapping[str, Any] = sources[0]
    file = Path(source["source"])
    if not file.is_absolute() and (path.parent / file).is_file():
        file = path.parent / file
    start, end = span
    if start < -_TOLERANCE_S or end > recording["duration"] + _TOLERANCE_S:
        outside = f"{start:g} to {end:g} s, outside its recording of {recording['duration']:g} s"
        return FileSound(path=file), f"its supervision lies at {outside}"
    whole = start <= 0 and end >= recording["duration"] - 0.01
    return FileSound(
        path=file,
        start_s=0.0 if whole else max(0.0, start),
        end_s=None if whole else end,
        channel=source["channels"].index(channel),
    ), ""


def _split(part: str) -> str:
    return split_named(part.split(".")[0])


def _language(name: str) -> str:
    """Return the code of a language, which Lhotse's recipes spell out."""
    return {"english": "en", "german": "de", "french": "fr", "spanish": "es"}.get(
        name.lower(), name.split("-")[0].lower()
    )


LHOTSE = Format(
    name="lhotse",
    sign="recordings and supervisions, or cuts, as .jsonl or .jsonl.gz",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
)
