"""Opens shard sets as Hugging Face `datasets`, with the features of its WebDataset reader.

That reader infers the types of labels from the first five dialogues, where a list may be empty;
here they are inferred from all. It decodes audio with torchcodec, which needs FFmpeg; with
`decode=False` the FLAC bytes are returned undecoded.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microturn.datagen.sets.shards import ShardReader

BATCH = 64  # dialogues per inference of types
if TYPE_CHECKING:
    import datasets


def as_dataset(
    folder: str | Path, *, decode: bool = False, streaming: bool = False, **options: Any
) -> datasets.Dataset | datasets.IterableDataset:
    """Open the set as a dataset; other options are those of `datasets.load_dataset`."""
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
    """Infer the type of every member, valid for all dialogues of the set."""
    import datasets
    import pyarrow as pa

    labels: Any = None
    members: dict[str, bytes] = {}
    for start in range(0, len(reader), BATCH):
        samples = [reader[i] for i in range(start, min(start + BATCH, len(reader)))]
        schema = pa.schema([("json", pa.array([sample.json for sample in samples]).type)])
        pair = [schema] if labels is None else [labels, schema]
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
    """Return nested lists, one level per dimension of the array."""
    import datasets

    kind: Any = datasets.Value(str(array.dtype))
    for _ in range(array.ndim):
        kind = datasets.List(kind)
    return kind
