"""Common Voice: `clips/*.mp3` and tables `train.tsv`, `dev.tsv`, `test.tsv`, `validated.tsv`.

The official split is by speaker; validated clips that are in none of its tables follow their
speaker, and other speakers are split as in any corpus.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.recordings import FileSound, Format, Recording, read_text

_TABLES = (("train", "train"), ("dev", "test"), ("test", "test"), ("validated", ""))
_NAME_LENGTH = 16  # of the 128 hexadecimal digits of a client


def _folders(root: Path) -> list[Path]:
    """Return the folder itself or those of its languages."""
    folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    folders += sorted(path for path in root.glob("*/*") if path.is_dir() and path.name != "clips")
    return [path for path in folders if (path / "clips").is_dir() and any(_tables(path))]


def _tables(folder: Path) -> Iterator[tuple[Path, str]]:
    for name, split in _TABLES:
        if (folder / f"{name}.tsv").is_file():
            yield folder / f"{name}.tsv", split


def _matches(root: Path) -> bool:
    return root.is_dir() and bool(_folders(root))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    for folder in _folders(root):
        splits: dict[str, str] = {}
        seen: set[str] = set()
        for table, split in _tables(folder):
            reader = csv.DictReader(
                lines_of(read_text(table)), delimiter="\t", quoting=csv.QUOTE_NONE
            )
            for row in reader:
                name, client = row.get("path") or "", row.get("client_id") or ""
                if not name or name in seen:
                    continue
                seen.add(name)
                if split:
                    splits[client] = split
                path = folder / "clips" / name
                if not path.suffix:  # some releases omit it
                    path = path.with_suffix(".mp3")
                yield Recording(
                    id=path.stem,
                    sound=FileSound(path=path),
                    text=row.get("sentence") or "",
                    speaker=client[:_NAME_LENGTH],
                    language=(row.get("locale") or folder.name).split("-")[0].lower(),
                    split=split or splits.get(client, ""),
                )


COMMON_VOICE = Format(
    name="common_voice",
    sign="clips/ and train.tsv, dev.tsv, test.tsv or validated.tsv",
    licence="CC0-1.0",
    language="",
    matches=_matches,
    read=_read,
)
