"""What the processes of a run agree on, step by step; alone, a process agrees with itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


class ProcessGroup:
    """Sums over all processes. Small ones go through the CPU, so that no GPU is waited for."""

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.world = dist.get_world_size() if joined else 1
        self.rank = dist.get_rank() if joined else 0
        self._group = dist.new_group(backend="gloo") if self.world > 1 else None

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum of each value over all processes; every process names the same ones."""
        if self._group is None:
            return dict(values)
        packed = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64)
        dist.all_reduce(packed, group=self._group)
        return dict(zip(sorted(values), packed.tolist(), strict=True))

    def any(self, wish: bool) -> bool:
        """Whether one of the processes says so."""
        return self.sums({"wish": float(wish)})["wish"] > 0

    def texts(self, text: str) -> list[str]:
        """What each process says, by rank."""
        if self._group is None:
            return [text]
        said: list[str] = [""] * self.world
        dist.all_gather_object(said, text, group=self._group)
        return said

    def add_(self, tensors: list[Tensor]) -> None:
        """Sum tensors over all processes in place, where they lie."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        for t, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(total.view_as(t))


def whole(t: Tensor) -> Tensor:
    """A tensor that is spread over devices, put together; all processes call this."""
    full = getattr(t, "full_tensor", None)
    return full() if full is not None else t


def local(t: Tensor) -> Tensor:
    """What this device holds of a tensor; a view, all of it where it is not spread."""
    part = getattr(t, "to_local", None)
    return part() if part is not None else t


def spread_like(full: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this device keeps, as `like` is spread; no traffic."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)
