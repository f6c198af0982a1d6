"""Shard sets as Hugging Face `datasets`: what its WebDataset reader needs to know beforehand.

It takes the types of the labels from the first five dialogues, where a list may happen to be empty;
here they come from all of them. And it decodes sound with torchcodec, which needs FFmpeg; with
`decode=False` the FLAC bytes are handed out as they are.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microturn.datagen.sets.shards import ShardReader

BATCH = 64  # dialogues whose types are found at once
if TYPE_CHECKING:
    import datasets


def as_dataset(
    folder: str | Path, *, decode: bool = False, streaming: bool = False, **options: Any
) -> datasets.Dataset | datasets.IterableDataset:
    """The set as a dataset; further options are those of `datasets.load_dataset`."""
    import datasets

    reader = ShardReader(folder)
    return datasets.load_dataset(
        "webdataset",
        data_files={reader.split: [str(reader.folder / shard.name) for shard in reader.shards]},
        split=reader.split,
        features=features_of(reader, decode=decode),
        streaming=streaming,
        **options,
    )


def features_of(reader: ShardReader, *, decode: bool = False) -> datasets.Features:
    """The type of every member, true for every dialogue of the set."""
    import datasets
    import pyarrow as pa

    labels: Any = None
    members: dict[str, bytes] = {}
    for start in range(0, len(reader), BATCH):
        samples = [reader[i] for i in range(start, min(start + BATCH, len(reader)))]
        found = pa.schema([("json", pa.array([sample.json for sample in samples]).type)])
        pair = [found] if labels is None else [labels, found]
        labels = pa.unify_schemas(pair, promote_options="permissive")
        members = {**dict(samples[0].members), **members}
    features = datasets.Features.from_arrow_schema(labels)
    for name, data in members.items():
        if name.endswith(".npz"):
            with np.load(io.BytesIO(data)) as arrays:
                features[name] = {key: _type(arrays[key]) for key in arrays.files}
        elif name.endswith(".flac") and decode:
            features[name] = datasets.Audio()
        elif name != "json":
            features[name] = datasets.Value("binary")
    for name in ("__key__", "__url__"):
        features[name] = datasets.Value("string")
    return features


def _type(array: Any) -> Any:
    """Lists in lists, as deep as the array has dimensions."""
    import datasets

    kind: Any = datasets.Value(str(array.dtype))
    for _ in range(array.ndim):
        kind = datasets.List(kind)
    return kind
