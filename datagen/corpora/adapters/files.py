"""Audio files with their texts beside them (`x.wav`, `x.txt` or `x.lab`), a folder per speaker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from microturn.configs.reading import files_below
from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    FileSound,
    Format,
    Recording,
    split_folder,
    text_beside,
)

_TEXTS = (".normalized.txt", ".txt", ".lab")  # the first that exists
# Names of folders that hold speakers, and are none.
_PLAIN = frozenset(
    ["audio", "audios", "clips", "data", "flac", "recordings", "sound", "sounds", "speech"]
    + ["wav", "wavs", "mp3"]
)
# Beside audio and texts, these are no recordings.
_BESIDE = (*_TEXTS, ".textgrid", ".ctm", ".json", ".csv", ".tsv", ".md")
Key = tuple[Path, str]  # folder and name without suffix


def _key(path: Path) -> Key:
    ending = next((s for s in _TEXTS if path.name.lower().endswith(s)), path.suffix)
    return path.parent, path.name[: len(path.name) - len(ending)]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def _texts(paths: Iterable[Path]) -> dict[Key, Path]:
    """Return the text of each name, whatever the case of its suffix."""
    texts: dict[Key, Path] = {}
    for suffix in _TEXTS:
        for path in paths:
            if path.name.lower().endswith(suffix):
                texts.setdefault(_key(path), path)
    return texts


def _matches(root: Path) -> bool:
    if not root.is_dir():
        return False
    audio: set[Key] = set()
    texts: set[Key] = set()
    for path in files_below(root):
        if _is_audio(path):
            audio.add(_key(path))
        elif path.name.lower().endswith(_TEXTS):
            texts.add(_key(path))
        else:
            continue
        if _key(path) in audio and _key(path) in texts:
            return True
    return False


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    paths = sorted(files_below(root))
    texts = _texts(paths)
    for path in filter(_is_audio, paths):
        text, place = texts.get(_key(path)), path.relative_to(root)
        folders = place.parts[:-1]
        named = [part for part in folders if not split_folder(part)]
        speakers = [part for part in named if part.lower() not in _PLAIN]
        words, problem = text_beside(text)
        yield Recording(
            id=place.with_suffix("").as_posix(),
            sound=FileSound(path=path),
            row=path.suffix[1:].lower(),
            text=words,
            speaker=next(iter(speakers or named), ""),
            split=next(filter(None, map(split_folder, folders)), ""),
            problem=problem,
        )
    yield from _without_sound(root, paths, texts)


def _without_sound(
    root: Path, paths: Iterable[Path], texts: dict[Key, Path]
) -> Iterator[Recording]:
    """Yield the texts without a sound in folders that hold sound, with the reason."""
    audio = {_key(path) for path in paths if _is_audio(path)}
    folders = {folder for folder, _ in audio}
    unread = {
        _key(path): path
        for path in paths
        if not _is_audio(path) and not path.name.lower().endswith(_BESIDE)
    }
    for key, text in texts.items():
        if key in audio or key[0] not in folders:
            continue
        other = unread.get(key)
        problem = f"{other.name} is not read; convert it to .flac" if other else "it has no sound"
        name = text.relative_to(root).as_posix()
        yield Recording(id=name, sound=FileSound(path=text), text="", problem=problem)


FILES = Format(
    name="files",
    sign="audio files with .txt or .lab beside them",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
)
