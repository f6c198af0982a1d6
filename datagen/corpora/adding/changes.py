"""What a corpus was made of, so that adding it again finds what is new in its source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from microturn.configs.reading import lines_of, naming_damage
from microturn.datagen.corpora.recordings import AudioSource, Recording

SOURCE_NAME: Final = "source.jsonl"
_DIGITS: Final = 16


@dataclass(frozen=True, kw_only=True)
class SourceChanges:
    """How many recordings of a source are new, gone, or not what they were."""

    new: int
    gone: int
    changed: int

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed)

    def __str__(self) -> str:
        return f"{self.new} new, {self.gone} gone, {self.changed} changed"

    def to_json(self) -> dict[str, int]:
        return {"new": self.new, "gone": self.gone, "changed": self.changed}


def signatures(recordings: Sequence[Recording]) -> dict[str, str]:
    """Return a digest of every entry and of the size and date of its file, by id."""
    return {recording.id: _signature(recording) for recording in recordings}


def write_signatures(folder: Path, found: dict[str, str]) -> None:
    """Write them beside the manifest."""
    with (folder / SOURCE_NAME).open("w", encoding="utf-8") as file:
        for name, signature in found.items():
            file.write(json.dumps({"id": name, "signature": signature}, ensure_ascii=False) + "\n")


def changes_since(folder: Path, found: dict[str, str]) -> SourceChanges:
    """Compare a source with what the corpus in a folder was made of; without a list all is new."""
    before = _read(folder / SOURCE_NAME)
    return SourceChanges(
        new=len(found.keys() - before.keys()),
        gone=len(before.keys() - found.keys()),
        changed=sum(before[name] != found[name] for name in found.keys() & before.keys()),
    )


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with naming_damage(path, "delete the folder and add the corpus again"):
        rows = map(json.loads, lines_of(path.read_text(encoding="utf-8")))
        return {row["id"]: row["signature"] for row in rows}


def _signature(recording: Recording) -> str:
    digest = sha256()
    for part in signature_parts(recording):
        digest.update(f"{part}\0".encode(errors="surrogatepass"))
    return digest.hexdigest()[:_DIGITS]


def signature_parts(recording: Recording) -> Iterator[Any]:
    """Yield what describes a recording: if any of it changes, the recording does."""
    for field in fields(recording):
        value = getattr(recording, field.name)
        if field.name != "sound":
            yield sorted(value) if isinstance(value, frozenset) else value
    yield recording.sound.place
    yield from stat_of(recording.sound)


def stat_of(sound: AudioSource) -> list[tuple[int, int]]:
    """Return size and date of the file of a sound; nothing for one inside a table, or missing."""
    path = getattr(sound, "path", None)
    if path is None or not Path(path).is_file():
        return []
    found = Path(path).stat()
    return [(found.st_size, found.st_mtime_ns)]
