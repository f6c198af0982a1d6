"""Opens shard sets as Hugging Face `datasets`, with the types of its labels.

By itself the WebDataset reader of `datasets` infers types from the first five dialogues, where a
value may be missing or a list empty; here they are those of the classes of the labels. It decodes
audio with torchcodec, which needs FFmpeg; with `decode=False` the FLAC bytes are returned
undecoded.
"""

from __future__ import annotations

import io
import types
import typing
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.sets.shards import ShardReader

_DTYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}
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
    """Return the type of every member, valid for all dialogues of the set.

    They are also the `features` of `datasets.load_dataset("webdataset", ...)` itself.
    """
    import datasets

    features = datasets.Features(json=_kind(DialogueLabels))
    for name, data in dict(reader[0].members).items():
        if name.endswith(".npz"):
            with np.load(io.BytesIO(data)) as arrays:
                features[name] = {key: _array(arrays[key]) for key in arrays.files}
        elif name.endswith(".flac") and decode:
            features[name] = datasets.Audio()
        elif name != "json":
            features[name] = datasets.Value("binary")
    for name in ("__key__", "__url__"):
        features[name] = datasets.Value("string")
    return features


def _kind(kind: Any) -> Any:
    """Return the feature of a type of the labels; what may be missing is of its type or null."""
    import datasets

    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {name: _kind(hint) for name, hint in hints.items()}
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _kind(next(arg for arg in args if arg is not type(None)))
    if origin is tuple:
        return datasets.List(_kind(args[0]))
    return datasets.Value(_DTYPES[kind])


def _array(array: Any) -> Any:
    """Return nested lists, one level per dimension of the array."""
    import datasets

    kind: Any = datasets.Value(str(array.dtype))
    for _ in range(array.ndim):
        kind = datasets.List(kind)
    return kind
