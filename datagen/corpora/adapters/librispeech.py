"""LibriSpeech (and MLS-like trees): `subset/speaker/chapter/*.flac` with one `*.trans.txt` each.

Word times may lie beside the audio as `*.TextGrid`, or as `*.alignment.txt`: per line an id, the
words with "" for silence, and the end of each in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    FileSound,
    Format,
    Recording,
    read_text,
    split_named,
)
from microturn.datagen.corpora.utterance import AlignedWord

_ENDING = ".trans.txt"


def _matches(root: Path) -> bool:
    return root.is_dir() and any(path.name.endswith(_ENDING) for path in files_below(root))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    paths = sorted(files_below(root))
    audio = {path.with_suffix(""): path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES}
    for path in paths:
        if path.name.endswith(_ENDING):
            yield from _chapter(path, root, audio)
    for name, path in audio.items():  # without a line: they have no text
        yield Recording(id=name.name, sound=FileSound(path=path), text="")


def _chapter(path: Path, root: Path, audio: dict[Path, Path]) -> Iterator[Recording]:
    """Yield the recordings of one transcript, and take their files from `audio`."""
    times = _alignments(path.with_name(path.name.replace(".trans.", ".alignment.")))
    folders = path.relative_to(root).parts[:-1]
    split = next(filter(None, map(split_named, (*folders[::-1], root.name))), "")
    for line in lines_of(read_text(path)):
        name, *rest = line.split(maxsplit=1) or [""]
        if not name:
            continue
        place = path.parent / name
        yield Recording(
            id=name,
            sound=FileSound(path=audio.pop(place, path.parent / f"{name}.flac")),
            text=rest[0] if rest else "",
            speaker=_speaker(name, folders),
            split=split,
            words=times.get(name, ()),
        )


def _speaker(name: str, folders: tuple[str, ...]) -> str:
    """Return the folder that a name begins with, or else that above the chapter."""
    first = name.split("-")[0]
    if first in folders or not folders:
        return first
    above = folders[-2] if len(folders) > 1 else ""
    return above if above and not split_named(above) else folders[-1]


def _alignments(path: Path) -> dict[str, tuple[AlignedWord, ...]]:
    """Read the words of every utterance of a chapter from an `*.alignment.txt`."""
    if not path.is_file():
        return {}
    words_by_name = {}
    for line in lines_of(read_text(path)):
        name, _, rest = line.strip().partition(" ")
        texts, _, ends = rest.strip().partition(" ")
        words, start = [], 0.0
        pairs = zip(texts.strip('"').split(","), ends.strip('"').split(","), strict=False)
        for text, end in pairs:
            if text:
                words.append(AlignedWord(text=text.lower(), start_s=start, end_s=float(end)))
            start = float(end)
        words_by_name[name] = tuple(words)
    return words_by_name


LIBRISPEECH = Format(
    name="librispeech",
    sign="*.trans.txt beside the audio",
    licence="CC-BY-4.0",
    language="en",
    matches=_matches,
    read=_read,
)
