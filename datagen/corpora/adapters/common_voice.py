"""Common Voice: `clips/*.mp3` and tables `train.tsv`, `dev.tsv`, `test.tsv`, `validated.tsv`.

The official split is by speaker; validated clips that are in none of its tables follow their
speaker, and other speakers are split as in any corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from microturn.datagen.corpora.adapters.fields import find_audio
from microturn.datagen.corpora.adapters.table_rows import rows_of
from microturn.datagen.corpora.recordings import FileSound, Format, Recording, read_text

_TABLES = (("train", "train"), ("dev", "test"), ("test", "test"), ("validated", ""))
_CLIENT = re.compile(r"([0-9a-f]{16})[0-9a-f]{112}")  # the first 16 digits are enough


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
            for number, row, fault in rows_of(read_text(table), "\t"):
                name, client = row.get("path", ""), row.get("client_id", "")
                if fault or not name:
                    yield Recording(
                        id=f"{table.stem}-{number:07d}",
                        sound=FileSound(path=table),
                        text="",
                        problem=f"line {number}: {fault or 'its line names no file'}",
                    )
                    continue
                if name in seen:  # most validated clips are in a table of the split as well
                    continue
                seen.add(name)
                if split:
                    splits[client] = split
                path = find_audio(folder / "clips", name)  # some releases omit the suffix
                short = _CLIENT.fullmatch(client)
                yield Recording(
                    id=path.stem,
                    sound=FileSound(path=path),
                    row=folder.name,
                    text=row.get("sentence", ""),
                    speaker=short[1] if short else client,
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
