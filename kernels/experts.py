"""Expert SwiGLU layers over routed tokens: the definition, and a grouped matmul for a GPU.

N tokens, K experts per token, E experts, D model width, F expert width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
    return _combine(torch.cat(outputs), order, w_NK, K)


def experts_grouped(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Compute `experts_reference` by `grouped_mm`, without synchronising with the host.

    D and F are multiples of 8.
    """
    K, flat = ids_NK.shape[1], ids_NK.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.zeros(len(up), dtype=torch.int32, device=x_ND.device)
    counts.scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
    offsets = counts.cumsum(0, dtype=torch.int32)
    dtype = torch.bfloat16
    rows = _Sort.apply(x_ND.to(dtype), order, _inverse(order), K)  # type: ignore[no-untyped-call]
    hidden = F.grouped_mm(rows, up.to(dtype), offs=offsets)
    gate, value = hidden.chunk(2, dim=-1)
    rows = F.grouped_mm((F.silu(gate) * value).contiguous(), down.to(dtype), offs=offsets)
    return _combine(rows.to(x_ND.dtype), order, w_NK, K)


class _Sort(torch.autograd.Function):
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


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse


def _combine(rows: Tensor, order: Tensor, w_NK: Tensor, K: int) -> Tensor:
    """Undo the sorting and sum each token's K weighted rows in slot order."""
    unsorted = _Unsort.apply(rows, order, _inverse(order))  # type: ignore[no-untyped-call]
    per_token = unsorted.view(-1, K, rows.shape[-1])
    return (per_token * w_NK.unsqueeze(-1).to(rows.dtype)).sum(1)
