"""Kaldi-style folders, as of AMI meetings: `wav.scp`, `text`, `utt2spk`, `segments`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.recordings import (
    FileSound,
    Format,
    Recording,
    read_text,
    split_named,
)


def _matches(root: Path) -> bool:
    return bool(_folders(root))


def _folders(root: Path) -> list[Path]:
    """Return the folder itself, or its subfolders, one per split."""
    if not root.is_dir():
        return []
    folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    return [path for path in folders if (path / "wav.scp").is_file() and (path / "text").is_file()]


def _table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = (line.strip().partition(" ") for line in lines_of(read_text(path)))
    return {name: rest.strip() for name, _, rest in rows if name}


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    for folder in _folders(root):
        files, speakers = _table(folder / "wav.scp"), _table(folder / "utt2spk")
        segments, languages = _table(folder / "segments"), _table(folder / "utt2lang")
        for name, text in sorted(_table(folder / "text").items()):
            file, start_s, end_s = name, 0.0, None
            problem = ""
            if segments:
                try:
                    file, first, last = segments.get(name, "").split()
                    start_s, end_s = float(first), float(last)
                except ValueError:
                    problem = "segments has no file, start and end for it"
            source = files.get(file, "")
            if not source:
                problem = problem or f"wav.scp has no {file}"
            elif source.endswith("|"):
                problem = "wav.scp has a command, which is not run; write a file"
            path = Path(source)
            yield Recording(
                id=name,
                sound=FileSound(
                    path=path if path.is_absolute() else _near(folder, path),
                    start_s=start_s,
                    end_s=end_s,
                ),
                text=text,
                speaker=speakers.get(name, ""),
                language=languages.get(name, ""),
                split=split_named(folder.name) if folder != root else "",
                problem=problem,
            )


def _near(folder: Path, path: Path) -> Path:
    """Resolve a relative path from its table, or from the working directory."""
    return folder / path if (folder / path).is_file() or not path.is_file() else path


SEGMENTS = Format(
    name="segments",
    sign="wav.scp and text (Kaldi style)",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
)
