"""Tokens to the devices that hold their experts, and back: expert parallelism.

N tokens, K experts per token, E experts on P devices in order, D model width, R rows that arrive.
Both ways are asynchronous, forward and backward: what a caller computes between `send`, `compute`
and `combine` runs while rows travel, and so does its backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from microturn.kernels import ops
from microturn.kernels.experts import Sort, combine, inverse_of


@dataclass(frozen=True)
class ExpertExchange:
    """The devices that the experts of a layer are split over; all of them call it alike."""

    group: dist.ProcessGroup

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def send(self, x_ND: Tensor, ids_NK: Tensor, n_experts: int) -> Trip:
        """Start to send each token's row, once per pair of token and expert."""
        K, flat, size = ids_NK.shape[1], ids_NK.reshape(-1), self.group.size()
        order = torch.argsort(flat, stable=True)
        counts = torch.zeros(n_experts, dtype=torch.int64, device=flat.device)
        counts.scatter_add_(0, flat, torch.ones_like(flat))
        arriving = torch.empty_like(counts)  # by device of origin and own expert
        dist.all_to_all_single(arriving, counts, group=self.group)
        arriving = arriving.view(size, -1)
        to, back = torch.stack([counts.view(size, -1).sum(1), arriving.sum(1)]).tolist()
        own = torch.arange(arriving.shape[1], device=flat.device).repeat(size)
        ids_R = own.repeat_interleave(arriving.flatten(), output_size=sum(back))
        x = x_ND.to(torch.bfloat16) if x_ND.is_cuda else x_ND  # as `experts_grouped` reads it
        rows = Sort.apply(x, order, inverse_of(order), K)  # type: ignore[no-untyped-call]
        there = _Way(self.group, to, back)
        rows_R = _Start.apply(rows, there)  # type: ignore[no-untyped-call]
        return Trip(self.group, there, order, ids_R, x_ND.dtype, rows_R)


@dataclass(eq=False)
class Trip:
    """Rows under way to their experts, then back."""

    group: dist.ProcessGroup
    way: _Way
    order: Tensor  # (N * K,) pairs, expert by expert
    ids_R: Tensor  # expert of each row that arrives, among those of this device
    dtype: torch.dtype
    rows: Tensor

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def compute(self, up: Any, down: Any) -> None:
        """Compute the rows that arrive, and start to send them back.

        up, down: distributed tensors (DTensor) of all experts, split over the group.
        """
        rows = _Finish.apply(self.rows, self.way)  # type: ignore[no-untyped-call]
        n, ids, size = len(rows), self.ids_R, self.group.size()
        if n == 0:  # every device has gradients of its experts, if of zeros
            rows, ids = F.pad(rows, (0, 0, 0, 1)), F.pad(ids, (0, 1))
        weights = [_Mean.apply(w.to_local(), size) for w in (up, down)]  # type: ignore[no-untyped-call]
        one = torch.ones(len(rows), 1, dtype=rows.dtype, device=rows.device)
        rows = ops.experts(rows, ids[:, None], one, *weights)[:n]
        self.way = _Way(self.group, self.way.n_received, self.way.n_sent)
        self.rows = _Start.apply(rows, self.way)  # type: ignore[no-untyped-call]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def combine(self, w_NK: Tensor) -> Tensor:
        """Sum each token's K weighted rows, (N, D)."""
        rows = _Finish.apply(self.rows, self.way)  # type: ignore[no-untyped-call]
        return combine(rows.to(self.dtype), self.order, inverse_of(self.order), w_NK)


@dataclass(eq=False)
class _Way:
    """One way of rows between the devices of a group, and the way back of their gradients."""

    group: dist.ProcessGroup
    n_sent: list[int]
    n_received: list[int]
    _pending: tuple[Any, Tensor, Tensor] | None = None

    def start(self, rows: Tensor, n_sent: list[int], n_received: list[int]) -> Tensor:
        """Send rows; return a tensor that holds those received after `wait`."""
        sent, received = rows.contiguous(), rows.new_empty(sum(n_received), rows.shape[1])
        work = dist.all_to_all_single(
            received, sent, n_received, n_sent, group=self.group, async_op=True
        )
        self._pending = work, sent, received  # what is sent must live as long
        return received

    def wait(self) -> Tensor:
        """Wait for the rows that were started last and return them."""
        assert self._pending is not None
        work, _, received = self._pending
        work.wait()
        self._pending = None
        return received


class _Start(torch.autograd.Function):
    """Start a way; its backward ends that of the gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, way: _Way) -> Tensor:
        ctx.way = way
        return way.start(rows, way.n_sent, way.n_received)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.way.wait(), None


class _Finish(torch.autograd.Function):
    """End a way; its backward starts that of the gradients, which `_Start` takes up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, way: _Way) -> Tensor:
        ctx.way = way
        way.wait()
        return rows.view_as(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.way.start(grad, ctx.way.n_received, ctx.way.n_sent)
        return grad, None


class _Mean(torch.autograd.Function):
    """A weight as it is; its gradient is divided by n.

    Gradients of experts have the tokens of the n devices that they are split over. The mean over
    devices that FSDP takes divides those of other weights by n more.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, n: int) -> Tensor:
        ctx.n = n
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad / ctx.n, None
