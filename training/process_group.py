"""Collectives over the processes of a run, and shards of tensors; no-ops for a single process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from math import prod

import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from microturn.training.fleet.place import HERE


class ProcessGroup:
    """All processes of the run. Small values go through the CPU, so that no GPU is waited for."""

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.world_size = dist.get_world_size() if joined else 1
        self.rank = dist.get_rank() if joined else 0
        self.group = dist.new_group(backend="gloo") if self.world_size > 1 else None

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add up each value over all processes; every process passes the same names."""
        if self.group is None:
            return dict(values)
        packed = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64)
        with HERE.meeting():
            dist.all_reduce(packed, group=self.group)
        return dict(zip(sorted(values), packed.tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process."""
        return self.sum({"flag": float(flag)})["flag"] > 0

    def gather(self, text: str) -> list[str]:
        """Collect a text from every process, by rank."""
        if self.group is None:
            return [text]
        texts: list[str] = [""] * self.world_size
        with HERE.meeting():
            dist.all_gather_object(texts, text, group=self.group)
        return texts

    def sum_(self, tensors: list[Tensor]) -> None:
        """Add up tensors over all processes in place, on the device that holds them."""
        if self.world_size == 1 or not tensors:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        with HERE.meeting():
            dist.all_reduce(flat)
        for t, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(total.view_as(t))


def is_sharded(tensors: Iterable[Tensor]) -> bool:
    """Tell whether a tensor among these is shared out over processes."""
    return any(hasattr(t, "full_tensor") for t in tensors)


def full_tensor(t: Tensor) -> Tensor:
    """Put a sharded tensor together; a collective, so all processes call it."""
    gather = getattr(t, "full_tensor", None)
    return gather() if gather is not None else t


def local_shard(t: Tensor) -> Tensor:
    """View this device's shard of a tensor; all of it where it is not sharded."""
    to_local = getattr(t, "to_local", None)
    return to_local() if to_local is not None else t


def shard_like(full: Tensor, like: Tensor) -> Tensor:
    """Cut this device's shard out of a full tensor, sharded as `like` is; no communication."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)


def n_copies(t: Tensor) -> int:
    """Count the devices that hold the same shard of a tensor; 0 where it is not sharded."""
    from torch.distributed.tensor import DTensor

    if not isinstance(t, DTensor):
        return 0
    sizes = zip(t.device_mesh.shape, t.placements, strict=True)
    return prod(size for size, placement in sizes if placement.is_replicate())


def is_first_process() -> bool:
    """Whether this process prints and writes; known before the processes have met."""
    return getattr(rank_zero_only, "rank", 0) == 0


def print_once(text: str) -> None:
    """Print to stderr from the first process alone."""
    if is_first_process():
        print(text, file=sys.stderr)
