"""The same choice of one speaker with lhotse, pyarrow and Hugging Face datasets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from microturn.datagen.corpora.utterance import Utterance


def _lhotse(manifest: Path, speaker: str) -> Callable[[], object]:
    from lhotse import SupervisionSegment, SupervisionSet

    path = manifest.with_name("supervisions.jsonl")
    with manifest.open(encoding="utf-8") as lines, path.open("w", encoding="utf-8") as out:
        for line in lines:
            utterance = Utterance.from_json(json.loads(line))
            segment = SupervisionSegment(
                id=utterance.id,
                recording_id=utterance.id,
                start=0.0,
                duration=utterance.duration_s,
                text=utterance.text,
                language=utterance.language,
                speaker=utterance.speaker,
            )
            out.write(json.dumps(segment.to_dict(), ensure_ascii=False) + "\n")

    def choose() -> list[Any]:
        lazy = SupervisionSet.from_jsonl_lazy(path)
        return [segment for segment in lazy if segment.speaker == speaker]

    return choose


def _arrow(manifest: Path, speaker: str) -> Callable[[], object]:
    import pyarrow.compute
    import pyarrow.json

    path = _flat(manifest)

    def choose() -> list[Any]:
        table = pyarrow.json.read_json(path)
        chosen = table.filter(pyarrow.compute.field("speaker") == speaker)
        return [table, chosen.to_pylist()]

    return choose


def _datasets(manifest: Path, speaker: str) -> Callable[[], object]:
    import datasets
    import pyarrow.compute

    path = _flat(manifest)
    datasets.disable_progress_bars()

    def choose() -> list[Any]:
        dataset = datasets.Dataset.from_json(
            str(path), cache_dir=str(manifest.parent / "arrow"), keep_in_memory=False
        )
        spoken = pyarrow.compute.equal(dataset.data.column("speaker"), speaker)
        places = pyarrow.compute.indices_nonzero(spoken).to_pylist()
        return [dataset, dataset.select(places).to_list()]

    return choose


def _flat(manifest: Path) -> Path:
    """Write the lines without their words: pyarrow wants one type in a list."""
    path = manifest.with_name("flat.jsonl")
    if path.is_file():
        return path
    with manifest.open(encoding="utf-8") as lines, path.open("w", encoding="utf-8") as out:
        for line in lines:
            fields = json.loads(line)
            del fields["words"]
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")
    return path


PEERS: Final[dict[str, Callable[[Path, str], Callable[[], object]]]] = {
    "lhotse": _lhotse,
    "arrow": _arrow,
    "datasets_index": _datasets,
    "datasets": _datasets,
}
