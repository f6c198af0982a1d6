"""Exports a shard set to the format of another toolkit; the folder appears when it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from microturn.configs.files import replacing_folder
from microturn.configs.load import save_config
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.lhotse_cuts import LhotseExport
from microturn.datagen.export.moshi import MoshiExport
from microturn.datagen.export.nemo import NemoExport
from microturn.datagen.sets.shards import ShardReader, StoredDialogue


class Exporter(Protocol):
    """Writes dialogues one by one, then their lists."""

    def add(self, sample: StoredDialogue) -> None: ...

    def close(self) -> None: ...


class ExporterFactory(Protocol):
    """Creates an exporter that writes to `folder`, which is renamed to `out` at the end."""

    def __call__(
        self, config: ExportConfig, reader: ShardReader, *, folder: Path, out: Path
    ) -> Exporter: ...


EXPORTERS: dict[str, ExporterFactory] = {
    "moshi": MoshiExport,
    "lhotse": LhotseExport,
    "nemo": NemoExport,
}


def export(config: ExportConfig) -> Path:
    """Export the set in the configured format; returns the folder."""
    reader = ShardReader(config.data)
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={out} exists and is not empty; give another out=FOLDER")
    n = min(config.n_dialogues or len(reader), len(reader))
    with replacing_folder(out) as part:
        exporter = EXPORTERS[config.format](config, reader, folder=part, out=out)
        for position in tqdm(range(n), desc=f"export {config.format}", unit="dialogue"):
            exporter.add(reader[position])
        exporter.close()
        save_config(part / "config.yaml", config)
    return out
