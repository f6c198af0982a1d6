"""LibriSpeech (and MLS-like trees): `subset/speaker/chapter/*.flac` with one `*.trans.txt` each.

Word times may lie beside the audio as `*.TextGrid`, or as `*.alignment.txt`: per line an id, the
words with "" for silence, and the end of each in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.manifest import AlignedWord
from microturn.datagen.corpora.recordings import (
    FileSound,
    Format,
    Recording,
    read_text,
    split_named,
)


def _transcripts(root: Path) -> list[Path]:
    return sorted(root.glob("**/*.trans.txt"))


def _matches(root: Path) -> bool:
    return root.is_dir() and next(root.glob("**/*.trans.txt"), None) is not None


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    for path in _transcripts(root):
        times = _alignments(path.with_name(path.name.replace(".trans.", ".alignment.")))
        split = next((s for part in path.parts[::-1] if (s := split_named(part))), "")
        for line in lines_of(read_text(path)):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            audio = next(
                (
                    p
                    for s in (".flac", ".wav", ".mp3")
                    if (p := path.parent / f"{name}{s}").is_file()
                ),
                path.parent / f"{name}.flac",
            )
            yield Recording(
                id=name,
                sound=FileSound(path=audio),
                text=text,
                speaker=name.split("-")[0],
                split=split,
                words=times.get(name, ()),
            )


def _alignments(path: Path) -> dict[str, tuple[AlignedWord, ...]]:
    """Read the words of every utterance of a chapter from an `*.alignment.txt`."""
    if not path.is_file():
        return {}
    words_by_name = {}
    for line in lines_of(read_text(path)):
        name, _, rest = line.partition(" ")
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
