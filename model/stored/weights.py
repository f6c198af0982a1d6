"""The weights of a checkpoint folder: one safetensors file, or parts with an index, as on the hub.

Parts and index are those of Hugging Face (`model-00001-of-00004.safetensors`,
`model.safetensors.index.json`): no tensor is cut, and a part holds up to 5 GB unless one tensor is
larger. Sharded tensors are written by the processes that hold them, each its own regions, so that
nothing is gathered; the bytes are those that one process would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from microturn.configs.files import draft_of, make_folder, put, replacing
from microturn.model.stored.tensor_files import (
    PlannedFile,
    Stored,
    StoredTensor,
    n_bytes,
    read_header,
    sync,
)

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
PARTS: Final = "model-*-of-*.safetensors"
PART_BYTES: Final = 5_000_000_000


class MisfitError(ValueError):
    """Stored tensors are not those that a model has."""


class Peers(Protocol):
    """The processes that write together, and this one's place among them."""

    @property
    def rank(self) -> int: ...

    def gather(self, text: str) -> list[str]:
        """Collect a text from every process, by rank; waits for all of them."""


class Alone:
    """A process that writes by itself."""

    rank = 0

    def gather(self, text: str) -> list[str]:
        return [text]


# --- reading -------------------------------------------------------------------------------------
def has_weights(folder: Path) -> bool:
    """Tell whether a folder holds weights in either form."""
    return any((folder / name).is_file() for name in (WEIGHTS, INDEX))


def weight_files(folder: Path) -> list[Path]:
    """List the files of a folder's weights: the one, or the parts of the index, by name.

    Raises ValueError where the index is damaged or names what is no file beside it.
    """
    if not (folder / INDEX).is_file():
        return [folder / WEIGHTS]
    return [folder / name for name in sorted({*_read_index(folder)[0].values()})]


def weights_path(folder: Path) -> Path:
    """Name the file that stands for the weights of a folder."""
    return folder / (INDEX if (folder / INDEX).is_file() else WEIGHTS)


def stored_weights(folder: Path) -> dict[str, StoredTensor]:
    """Find all tensors of a checkpoint's weights.

    Raises ValueError that names a file that is damaged, FileNotFoundError where a part is missing.
    """
    if not (folder / INDEX).is_file():
        return _tensors_of(folder / WEIGHTS)[0]
    file_of, saved = _read_index(folder)
    found: dict[str, StoredTensor] = {}
    for path in weight_files(folder):
        tensors, about = _tensors_of(path)
        if about.get("saved") != saved:
            raise ValueError(
                f"{path}: of other weights than {folder / INDEX}, as after a kill while weights "
                "were replaced; continue the run, which writes them again, or take a state of it"
            )
        found |= {name: each for name, each in tensors.items() if file_of.get(name) == path.name}
    missing = file_of.keys() - found.keys()
    if missing:
        raise ValueError(f"{folder / INDEX}: names {min(missing)}, which its part does not hold")
    return found


def _tensors_of(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    try:
        return read_header(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; copy or save the weights again") from error
    except ValueError as error:
        raise ValueError(f"{path}: damaged weights file ({error})") from error


def _read_index(folder: Path) -> tuple[dict[str, str], Any]:
    """Read the part of each tensor, and what was saved where it says so."""
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        file_of = {str(name): str(part) for name, part in index["weight_map"].items()}
        saved = index.get("metadata", {}).get("saved")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged index ({type(error).__name__}: {error})") from error
    outside = [part for part in file_of.values() if Path(part).name != part]
    if outside:
        raise ValueError(f"{path}: names {outside[0]}, which is no file beside it")
    return file_of, saved


def region_of(value: Tensor) -> tuple[Tensor, Sequence[int]]:
    """Return what this process holds of a tensor, and where that begins in the whole."""
    if not hasattr(value, "placements"):
        return value, [0] * value.dim()
    sharded: Any = value
    (chunk,) = sharded.__create_chunk_list__()
    return sharded.to_local(), list(chunk.offsets)


def check_fits(stored: Mapping[str, Stored], tensors: Mapping[str, Tensor]) -> None:
    """Raise MisfitError where stored tensors have other names or shapes than those of a model."""
    for name in sorted(tensors.keys() ^ stored.keys()):
        raise MisfitError(f"{name} is {'not there' if name in tensors else 'only there'}")
    for name, value in tensors.items():
        if value.shape != stored[name].shape:
            raise MisfitError(f"{name} is {stored[name].shape} there, {tuple(value.shape)} here")


def read_into(tensors: Mapping[str, Tensor], stored: Mapping[str, Stored]) -> None:
    """Read stored tensors into those of their names and shapes, each process its shards."""
    for name, each in stored.items():
        local, offsets = region_of(tensors[name])
        each.read(local, offsets)


def read_whole(stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Read whole tensors into memory."""
    tensors = {name: torch.empty(each.shape, dtype=each.dtype) for name, each in stored.items()}
    read_into(tensors, stored)
    return tensors


def give_weights(
    model: nn.Module, pending: Mapping[str, Stored], peers: Peers | None = None
) -> None:
    """Give a model memory where it has none, and weights.

    A sharded one gets the share of this process, and nothing else is held on the way; all processes
    call. Raises OSError in all of them where one cannot read.
    """
    model._apply(_with_memory)
    with failing_together(peers or Alone()):
        read_into(model.state_dict(), pending)


def _with_memory(t: Tensor) -> Tensor:
    if not t.is_meta:
        return t
    mesh = getattr(t, "device_mesh", None)
    return torch.empty_like(t, device="cpu" if mesh is None else mesh.device_type)


# --- writing -------------------------------------------------------------------------------------
def local_regions(
    tensors: Mapping[str, Tensor | Stored], rank: int
) -> Iterator[tuple[str, Tensor | Stored, Sequence[int]]]:
    """Yield the regions that a process writes: its shards, and in the first one what all have.

    Of shards that several processes hold alike, the first of these writes.
    """
    for name, value in tensors.items():
        if not (isinstance(value, Tensor) and hasattr(value, "placements")):
            if rank == 0:
                yield name, value, ()
            continue
        sharded: Any = value
        place = sharded.device_mesh.get_coordinate()
        if place is None or any(
            at and placement.is_replicate()
            for at, placement in zip(place, sharded.placements, strict=True)
        ):
            continue
        yield name, *region_of(value)


@dataclass(frozen=True)
class _File:
    """A file that is being written."""

    path: Path  # where it will be
    plan: PlannedFile  # of its draft
    tensors: Mapping[str, Tensor | Stored]

    @property
    def draft(self) -> Path:
        return self.plan.path


def write_weights(
    folder: Path,
    tensors: Mapping[str, Tensor | Stored],
    about: Mapping[str, Any],
    *,
    saved: str = "",
    peers: Peers | None = None,
) -> None:
    """Write weights in place of those that were there; what tensors are sharded over joins in.

    saved: tells these weights from others that the folder holds in turn; parts and index bear it.
    Raises OSError, in all processes, and leaves what was there where the disk does not take them.
    """
    peers = peers or Alone()
    make_folder(folder)
    groups = _groups(tensors)
    names = [WEIGHTS]
    if len(groups) > 1:
        names = [f"model-{i + 1:05d}-of-{len(groups):05d}.safetensors" for i in range(len(groups))]
        about = {**about, "saved": saved}
    paths = [(folder / name).resolve() for name in names]
    drafts = json.loads(peers.gather(json.dumps([str(draft_of(path)) for path in paths]))[0])
    files = [
        _File(path, PlannedFile.of(Path(draft), group, about), group)
        for path, draft, group in zip(paths, drafts, groups, strict=True)
    ]
    try:
        with failing_together(peers):
            for file in files if peers.rank == 0 else ():
                with naming(file.path):
                    file.plan.create()
        with failing_together(peers):
            for file in files:
                with naming(file.path):
                    _write_regions(file, peers.rank)
        with failing_together(peers):
            if peers.rank == 0:
                for file in files:
                    put(file.draft, file.path)
                _finish(folder, dict(zip(names, groups, strict=True)), saved)
    finally:
        if peers.rank == 0:
            for file in files:
                file.draft.unlink(missing_ok=True)


def _write_regions(file: _File, rank: int) -> None:
    for name, value, offsets in local_regions(file.tensors, rank):
        if isinstance(value, Tensor):
            file.plan.tensors[name].write(value, offsets)
        else:
            file.plan.tensors[name].copy(value)
    sync(file.draft)


@contextmanager
def failing_together(peers: Peers) -> Iterator[None]:
    """Raise an OSError of one process in all of them, at the end of the block."""
    failure = ""
    try:
        yield
    except OSError as error:
        failure = str(error)
    failures = [text for text in peers.gather(failure) if text]
    if failures:
        raise OSError(failures[0])


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file that cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"{path} cannot be written ({reason}); the version before it is intact"
        ) from error


def _groups(tensors: Mapping[str, Tensor | Stored]) -> list[dict[str, Tensor | Stored]]:
    """Share tensors out over parts, in their order."""
    groups: list[dict[str, Tensor | Stored]] = [{}]
    room = PART_BYTES
    for name, value in tensors.items():
        size = n_bytes(value)
        if groups[-1] and size > room:
            groups.append({})
            room = PART_BYTES
        groups[-1][name] = value
        room -= size
    return groups


def _finish(folder: Path, parts: Mapping[str, Mapping[str, Tensor | Stored]], saved: str) -> None:
    """Let the folder say which files it holds, then remove those of weights before."""
    if len(parts) == 1:
        (folder / INDEX).unlink(missing_ok=True)
    else:
        tensors = [value for part in parts.values() for value in part.values()]
        index = {
            "metadata": {
                "saved": saved,
                "total_size": sum(map(n_bytes, tensors)),
            },
            "weight_map": {name: part for part, each in parts.items() for name in sorted(each)},
        }
        with replacing(folder / INDEX, durable=True) as path:
            path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for path in [folder / WEIGHTS, *folder.glob(PARTS)]:
        if path.name not in parts:
            path.unlink(missing_ok=True)
    sync(folder)
