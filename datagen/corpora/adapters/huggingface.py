"""Hugging Face `datasets` on disk: `save_to_disk` (Arrow) or Parquet, with the audio embedded.

Read with pyarrow only. The audio column is the one whose values have `bytes` and `path`; other
columns are found by their usual names or by `columns.FIELD=NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from microturn.datagen.corpora.adapters.fields import (
    NAMES,
    channel_field,
    check_columns,
    field,
    text_field,
)
from microturn.datagen.corpora.recordings import (
    Decoded,
    FileSound,
    Format,
    Recording,
    decoded,
    split_folder,
    split_named,
)
from microturn.datagen.corpora.word_times import words_from_json
from microturn.model.streams.sound_file import SoundError, read_sound


@dataclass(frozen=True, kw_only=True)
class RowSound:
    """The audio of one row of a table."""

    table: Path
    column: str
    group: int  # row group of a Parquet file, record batch of an Arrow file
    row: int  # within it
    suffix: str
    channel: int | None = None  # from 0

    @property
    def place(self) -> str:
        return f"{self.table}, group {self.group}, row {self.row}"

    def decode(self, *, longest_s: float = inf) -> Decoded:
        value = _audio_of(self.table, self.column, self.group)[self.row].as_py() or {}
        data = value.get("bytes")
        if not data:
            if value.get("path"):
                path = self.table.parent / value["path"]
                return FileSound(path=path, channel=self.channel).decode(longest_s=longest_s)
            raise SoundError("its row holds no sound")
        piece = read_sound(data, longest_s=longest_s)
        return decoded(piece, channel=self.channel, data=data, suffix=self.suffix)


@lru_cache(maxsize=2)
def _audio_of(path: Path, column: str, group: int) -> Any:
    """Read one column of one group; rows are requested in order, so a small cache suffices."""
    return _group(path, group, [column]).column(column)


def _group(path: Path, group: int, columns: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read_row_group(group, columns=columns)
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_stream(source).read_all().to_batches()[group]
        return pa.Table.from_batches([batch]).select([c.partition(".")[0] for c in columns])


def _n_groups(path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return int(pq.ParquetFile(path).num_row_groups)
    with pa.memory_map(str(path)) as source:
        return len(pa.ipc.open_stream(source).read_all().to_batches())


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).schema


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix in (".parquet", ".arrow") else []
    arrows = sorted(p for p in root.glob("**/*.arrow") if not p.name.startswith("cache-"))
    return arrows or sorted(root.glob("**/*.parquet"))


def _matches(root: Path) -> bool:
    return bool(_tables(root))


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    check_columns(columns)
    for path in _tables(root):
        yield from _read_table(path, root, columns)


def _read_table(path: Path, root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    schema = _schema(path)
    audio = _audio_column(schema, path, columns)
    known = {columns.get(name, "") for name in NAMES} | {n for ns in NAMES.values() for n in ns}
    others = [name for name in schema.names if name in known and name != audio]
    folders = path.relative_to(root).parts[-2::-1]
    split = next(filter(None, (split_named(path.stem), *map(split_folder, folders))), "")
    for group in range(_n_groups(path)):
        table = _group(path, group, [*others, f"{audio}.path"])
        files = [(value or {}).get("path") or "" for value in _paths(table.column(audio))]
        rows = table.select(others).to_pylist() if others else [{}] * len(files)
        for row, (values, file) in enumerate(zip(rows, files, strict=True)):
            sound = RowSound(
                table=path,
                column=audio,
                group=group,
                row=row,
                suffix=Path(file).suffix.lower(),
                channel=channel_field(values, columns=columns),
            )
            stem = re.sub(r"[^\w./-]+", "-", Path(file).stem)
            yield _recording(sound, values, stem, split, columns)


def _paths(column: Any) -> Iterator[dict[str, Any] | None]:
    """Yield the structs of a column without their bytes."""
    import pyarrow as pa

    for chunk in column.chunks:
        paths = pa.StructArray.from_arrays([chunk.field("path")], names=["path"])
        yield from paths.to_pylist()


def _audio_column(schema: Any, path: Path, columns: Mapping[str, str]) -> str:
    import pyarrow as pa

    for column in schema:
        candidate = columns.get("audio", column.name) == column.name
        if candidate and pa.types.is_struct(column.type):
            parts = {column.type.field(i).name for i in range(column.type.num_fields)}
            if {"bytes", "path"} <= parts:
                return str(column.name)
    raise ValueError(
        f"{path} has no column with embedded audio (its columns are {', '.join(schema.names)}); "
        "name it with columns.audio=NAME, or embed the files before saving"
    )


def _recording(
    sound: RowSound, values: dict[str, Any], stem: str, split: str, columns: dict[str, str]
) -> Recording:
    row = f"{sound.table.stem}-{sound.group:04d}-{sound.row:06d}"
    return Recording(
        id=text_field(values, "id", columns=columns) or stem or row,
        sound=sound,
        row=stem or row,
        text=text_field(values, "text", columns=columns),
        speaker=text_field(values, "speaker", columns=columns),
        language=text_field(values, "language", columns=columns),
        licence=text_field(values, "licence", columns=columns),
        split=split_named(text_field(values, "split", columns=columns)) or split,
        words=words_from_json(field(values, "words", columns=columns)),
    )


HUGGINGFACE = Format(
    name="huggingface",
    sign=".arrow files of save_to_disk, or .parquet files, with the audio inside",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
    named_columns=True,
)
