"""A state in pieces: each process writes the shards that it holds, an index says where they are.

`torch.distributed.checkpoint` plans who writes what and exchanges failures; the storage is ours,
since its own keeps an index that must be unpickled. A folder holds one safetensors file for each
process and `index.json`, which is written last: a folder without it is unfinished.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from microturn.model.stored.tensor_files import (
    PiecedTensor,
    StoredTensor,
    read_header,
    sync,
    write_file,
)
from microturn.model.stored.weights import naming
from microturn.training.process_group import ProcessGroup

_INDEX: Final = "index.json"


def is_whole(path: Path) -> bool:
    """Tell whether a folder was written to its end."""
    return (path / _INDEX).is_file()


def read_folder(path: Path) -> tuple[dict[str, PiecedTensor], dict[str, Any]]:
    """Read where the pieces lie, and what `about` said; checks that every file is whole.

    Raises OSError, KeyError, TypeError or ValueError where something is missing or damaged.
    """
    index = json.loads((path / _INDEX).read_text(encoding="utf-8"))
    names = {str(name) for each in index["tensors"].values() for name, _ in each["pieces"]}
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ValueError(f"{_INDEX} names {outside[0]}, which is no file beside it")
    files = {name: read_header(path / name)[0] for name in sorted(names)}
    tensors = {name: _pieced(name, each, files) for name, each in index["tensors"].items()}
    return tensors, index["about"]


def _pieced(
    name: str, entry: Mapping[str, Any], files: Mapping[str, Mapping[str, StoredTensor]]
) -> PiecedTensor:
    pieces = tuple((files[file][name], (*offsets,)) for file, offsets in entry["pieces"])
    shape = (*entry["shape"],)
    fit = all(_lies_in(shape, each.shape, offsets) for each, offsets in pieces)
    if not (pieces and fit) or sum(math.prod(p.shape) for p, _ in pieces) != math.prod(shape):
        raise ValueError(f"the pieces of {name} do not make up {shape}")
    return PiecedTensor(pieces[0][0].dtype, shape, pieces)


def _lies_in(whole: Sequence[int], size: Sequence[int], offsets: Sequence[int]) -> bool:
    if not len(whole) == len(size) == len(offsets):
        return False
    spans = zip(whole, size, offsets, strict=True)
    return all(first >= 0 and first + n <= all_of_it for all_of_it, n, first in spans)


def save_folder(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], peers: ProcessGroup
) -> None:
    """Write a state whose tensors are sharded; all processes call it.

    It appears under its name when it is whole and on the disk. Raises OSError in all processes.
    """
    try:
        save({**tensors}, storage_writer=_Writer(path, about), process_group=peers.group)
    except CheckpointException as error:
        failures = [wrapped[0] for _, wrapped in sorted(error.failures.items())]
        wrong = [each for each in failures if not isinstance(each, OSError)]
        if wrong:
            raise wrong[0] from error
        raise OSError(str(failures[0])) from error


class _Writer(StorageWriter):
    """Storage of `torch.distributed.checkpoint`: a safetensors file a process, an index in JSON."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, about
        self.part = path.with_name(f".{path.name}.part")

    def reset(self, checkpoint_id: object = None) -> None:
        pass

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        if is_coordinator:
            with naming(self.path):
                shutil.rmtree(self.part, ignore_errors=True)
                self.part.mkdir(parents=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return [replace(plan, storage_data=rank) for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        file = self.part / f"{plan.storage_data:05d}.safetensors"
        found = {item.index.fqn: planner.resolve_data(item) for item in plan.items}
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
        with naming(self.path):
            write_file(file, tensors, {})
            sync(file)
        done: Future[list[WriteResult]] = Future()
        done.set_result(
            [
                WriteResult(item.index, tensors[item.index.fqn].nbytes, storage_data=file.name)
                for item in plan.items
            ]
        )
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        entries: dict[str, Any] = {}
        for result in (each for of_rank in results for each in of_rank):
            whole: Any = metadata.state_dict_metadata[result.index.fqn]
            entry = entries.setdefault(result.index.fqn, {"shape": [*whole.size], "pieces": []})
            entry["pieces"].append([result.storage_data, [*(result.index.offset or ())]])
        index = {"about": dict(self.about), "tensors": entries}
        with naming(self.path):
            (self.part / _INDEX).write_text(json.dumps(index, sort_keys=True), encoding="utf-8")
            sync(self.part / _INDEX)
            sync(self.part)
            if self.path.exists():  # of a run that this one starts over
                self.path.rename(self.path.with_name(f".{self.path.name}.old"))
            self.part.rename(self.path)
            sync(self.path.parent)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: object) -> bool:
        return True
