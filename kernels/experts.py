"""Expert SwiGLU layers over routed tokens: the definition, training on a CPU, and on a GPU.

N tokens, K experts per token, E experts, D model width, F expert width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from microturn.kernels.batch_invariant import matmul


def experts_reference(
    x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """Compute the weighted sum over each token's experts, (N, D).

    up (E, D, 2F) gives gate and value side by side, down is (E, F, D). Tokens are sorted by expert
    once and every expert is one dense product; on a CPU nothing is faster at these sizes.
    """
    N, K = ids_NK.shape
    flat = ids_NK.reshape(-1)
    order = torch.argsort(flat, stable=True)  # (N*K,) pairs, expert by expert
    counts = torch.bincount(flat, minlength=len(up)).tolist()
    rows = x_ND[order // K]
    outputs = []
    # unbind: its backward is one stack; that of indexing fills zeros for all experts each time.
    for up_e, down_e, chunk in zip(up.unbind(), down.unbind(), rows.split(counts), strict=True):
        if len(chunk):
            gate, value = matmul(chunk, up_e).chunk(2, dim=-1)
            outputs.append(matmul(F.silu(gate) * value, down_e))
    return combine(torch.cat(outputs), order, inverse_of(order), w_NK)


def experts_decode_reference(
    x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """Compute `experts_reference` as the kernels round it, pair by pair.

    Sums are in fp32, hidden values in the type of the weights.
    """
    K = ids_NK.shape[1]
    out = []
    for n, ids in enumerate(ids_NK.tolist()):
        total = torch.zeros(x_ND.shape[1], device=x_ND.device)
        for k in range(K):
            gate, value = (x_ND[n].to(up.dtype).float() @ up[ids[k]].float()).chunk(2)
            hidden = (F.silu(gate) * value).to(down.dtype).float()
            total = total + hidden @ down[ids[k]].float() * w_NK[n, k].float()
        out.append(total.to(x_ND.dtype))
    return torch.stack(out)


def experts_trained(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Compute `experts_reference` for a backward pass on a CPU, in one precision.

    Between the products nothing is done expert by expert, and products write where they belong.
    """
    K, flat = ids_NK.shape[1], ids_NK.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=len(up)).tolist()
    inverse = inverse_of(order)
    rows = Sort.apply(x_ND, order, inverse, K)  # type: ignore[no-untyped-call]
    return combine(_Layers.apply(rows, counts, up, down), order, inverse, w_NK)  # type: ignore[no-untyped-call]


class _Layers(torch.autograd.Function):
    """The layer of each expert over its rows (N*K, D), which lie expert by expert."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], up: Tensor, down: Tensor) -> Tensor:
        hidden = _products(rows, counts, up)
        gate, value = hidden.chunk(2, dim=-1)
        ctx.save_for_backward(rows, hidden, up, down)
        ctx.counts = counts
        return _products(F.silu(gate).mul_(value), counts, down)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None, Tensor | None]:
        rows, hidden, up, down = ctx.saved_tensors
        counts, (_, _, trains_up, trains_down) = ctx.counts, ctx.needs_input_grad
        gate, value = hidden.chunk(2, dim=-1)
        silu = F.silu(gate)
        of_down = _outer_products(silu * value, grad, counts) if trains_down else None
        of_mixed = _products(grad, counts, down.mT)
        of_hidden = torch.empty_like(hidden)
        of_gate, of_value = of_hidden.chunk(2, dim=-1)
        torch.mul(of_mixed, silu, out=of_value)
        slope = torch.ops.aten.silu_backward.grad_input
        slope(of_mixed.mul_(value), gate, grad_input=of_gate)
        of_up = _outer_products(rows, of_hidden, counts) if trains_up else None
        return _products(of_hidden, counts, up.mT), None, of_up, of_down


def _products(rows: Tensor, counts: Sequence[int], weights: Tensor) -> Tensor:
    """Multiply the rows (n, in) of each expert by its matrix of (E, in, out)."""
    result = rows.new_empty(len(rows), weights.shape[-1])
    for part, weight, into in zip(
        rows.split(counts), weights.unbind(), result.split(counts), strict=True
    ):
        torch.mm(part, weight, out=into)
    return result


def _outer_products(left: Tensor, right: Tensor, counts: Sequence[int]) -> Tensor:
    """Sum the outer products of each expert's rows (n, a) and (n, b), (E, a, b)."""
    result = left.new_empty(len(counts), left.shape[-1], right.shape[-1])
    for a, b, into in zip(left.split(counts), right.split(counts), result.unbind(), strict=True):
        torch.mm(a.T, b, out=into)
    return result


def experts_grouped(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Compute `experts_reference` by `grouped_mm`, without synchronising with the host.

    D and F are multiples of 8.
    """
    dtype, K = torch.bfloat16, ids_NK.shape[1]
    order, ends = pairs_by_expert(ids_NK, len(up))
    inverse = inverse_of(order)
    rows = Sort.apply(x_ND.to(dtype), order, inverse, K)  # type: ignore[no-untyped-call]
    hidden = F.grouped_mm(rows, up.to(dtype), offs=ends)
    gate, value = hidden.chunk(2, dim=-1)
    rows = F.grouped_mm((F.silu(gate) * value).contiguous(), down.to(dtype), offs=ends)
    return combine(rows.to(x_ND.dtype), order, inverse, w_NK)


def pairs_by_expert(ids_NK: Tensor, E: int) -> tuple[Tensor, Tensor]:
    """Return the pairs (N*K,) expert by expert, those of one in order, and each one's end (E,).

    A GPU sorts byte by byte: of ids in one byte it takes an eighth of the passes of int64.
    """
    ids = ids_NK.reshape(-1).to(torch.uint8 if E <= 256 else torch.int16)
    experts = torch.arange(E, dtype=ids.dtype, device=ids.device)
    ends = (ids[:, None] <= experts).sum(0, dtype=torch.int32)
    return torch.argsort(ids, stable=True), ends


class Sort(torch.autograd.Function):
    """Each token's row once per pair, in the order of pairs; its backward gathers, too.

    The backward of indexing would sum with atomics or sort again.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order: Tensor, inverse: Tensor, K: int) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.K = K
        return x_ND[order // K]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad[inverse].view(-1, ctx.K, grad.shape[-1]).sum(1), None, None, None


class _Unsort(torch.autograd.Function):
    """Rows back in the order of tokens."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return rows[inverse]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (order,) = ctx.saved_tensors
        return grad[order], None, None


def inverse_of(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse


def combine(rows: Tensor, order: Tensor, inverse: Tensor, w_NK: Tensor) -> Tensor:
    """Undo the sorting and sum each token's K weighted rows in slot order."""
    unsorted = _Unsort.apply(rows, order, inverse)  # type: ignore[no-untyped-call]
    per_token = unsorted.view(*w_NK.shape, rows.shape[-1])
    return (per_token * w_NK.unsqueeze(-1).to(rows.dtype)).sum(1)
