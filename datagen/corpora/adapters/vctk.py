"""VCTK: `wav48_silence_trimmed/p225/p225_001_mic1.flac` or `wav48/p225/p225_001.wav`; `txt/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.datagen.corpora.recordings import FileSound, Format, Recording, text_beside

_AUDIO = ("wav48_silence_trimmed", "wav48", "wav16")


def _folder(root: Path) -> Path | None:
    return next((root / name for name in _AUDIO if (root / name).is_dir()), None)


def _matches(root: Path) -> bool:
    return _folder(root) is not None and (root / "txt").is_dir()


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    folder = _folder(root)
    assert folder is not None  # it matches
    takes: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in (".flac", ".wav"):
            name = path.stem.removesuffix("_mic1").removesuffix("_mic2")
            takes.setdefault((path.parent.name, name), path)  # both microphones: the first
    texts = {
        (path.parent.name, path.stem): path
        for path in sorted((root / "txt").glob("*/*"))
        if path.suffix.lower() == ".txt"
    }
    for speaker, name in sorted({*takes, *texts}):
        text, problem = text_beside(texts.get((speaker, name)))
        missing = folder / speaker / f"{name}.flac"  # then the file is not there
        yield Recording(
            id=name,
            sound=FileSound(path=takes.get((speaker, name), missing)),
            row=speaker,
            text=text,
            speaker=speaker,
            problem=problem,
        )


VCTK = Format(
    name="vctk",
    sign="txt/ and wav48_silence_trimmed/ or wav48/",
    licence="CC-BY-4.0",
    language="en",
    matches=_matches,
    read=_read,
)
