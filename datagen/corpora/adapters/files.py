"""Audio files with their texts beside them (`x.wav`, `x.txt` or `x.lab`), a folder per speaker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    FileSound,
    Format,
    Recording,
    read_text,
    split_named,
)

_TEXTS = (".normalized.txt", ".txt", ".lab")


def _text_of(audio: Path) -> Path | None:
    paths = (audio.with_name(f"{audio.stem}{suffix}") for suffix in _TEXTS)
    return next((path for path in paths if path.is_file()), None)


def _audio(root: Path) -> Iterator[Path]:
    for path in root.glob("**/*"):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            yield path


def _matches(root: Path) -> bool:
    return root.is_dir() and any(_text_of(path) is not None for path in _audio(root))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    for path in sorted(_audio(root)):
        text, place = _text_of(path), path.relative_to(root)
        folders = [part for part in place.parts[:-1] if not split_named(part)]
        yield Recording(
            id=place.with_suffix("").as_posix(),
            sound=FileSound(path=path),
            text=read_text(text).strip() if text is not None else "",
            speaker=folders[0] if folders else "",
            split=next((s for part in place.parts[:-1] if (s := split_named(part))), ""),
        )


FILES = Format(
    name="files",
    sign="audio files with .txt or .lab beside them",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
)
