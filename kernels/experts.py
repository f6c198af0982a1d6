"""Expert SwiGLU layers over routed tokens: the definition, and what runs on a GPU.

N tokens, K experts per token, E experts, D model width, F expert width.
"""

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

# Up to this many tokens the kernels of `moe_decode` serve, above it the grouped matmul. H100,
# d=1024, 64 experts, top-4, ff=512, bf16: 89 against 169 us at 128 tokens, 149 against 175 at 256.
DECODE_TOKENS = 256
_HAS_TRITON = find_spec("triton") is not None


def experts_reference(
    x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """Weighted sum over each token's experts, (N, D).

    up (E, D, 2F) makes gate and value side by side, down (E, F, D). Tokens are sorted by expert
    once and every expert runs as one dense product; on a CPU nothing is faster at these sizes.
    """
    N, K = ids_NK.shape
    flat = ids_NK.reshape(-1)
    order = torch.argsort(flat, stable=True)  # (N*K,) pairs, expert by expert
    counts = torch.bincount(flat, minlength=len(up)).tolist()
    rows = x_ND[order // K]
    outputs = []
    for expert, chunk in enumerate(rows.split(counts)):
        if len(chunk):
            gate, value = (chunk @ up[expert]).chunk(2, dim=-1)
            outputs.append((F.silu(gate) * value) @ down[expert])
    return _combine(torch.cat(outputs), order, w_NK, K)


def experts_grouped(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The same through `grouped_mm`, without a host synchronisation; D and F multiples of 8."""
    N, K = ids_NK.shape
    flat = ids_NK.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.zeros(len(up), dtype=torch.int32, device=x_ND.device)
    counts.scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
    offsets = counts.cumsum(0, dtype=torch.int32)
    dtype = torch.bfloat16
    hidden = F.grouped_mm(x_ND[order // K].to(dtype), up.to(dtype), offs=offsets)
    gate, value = hidden.chunk(2, dim=-1)
    rows = F.grouped_mm((F.silu(gate) * value).contiguous(), down.to(dtype), offs=offsets)
    return _combine(rows.to(x_ND.dtype), order, w_NK, K)


def _combine(rows: Tensor, order: Tensor, w_NK: Tensor, K: int) -> Tensor:
    """Undo the sorting and mix each token's K rows in slot order."""
    unsorted = torch.empty_like(order)
    unsorted[order] = torch.arange(len(order), device=order.device)
    per_token = rows[unsorted].view(-1, K, rows.shape[-1])
    return (per_token * w_NK.unsqueeze(-1).to(rows.dtype)).sum(1)


def experts(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Dispatch by device and, without gradients, by the number of tokens."""
    if not x_ND.is_cuda:
        return experts_reference(x_ND, ids_NK, w_NK, up, down)
    trains = torch.is_grad_enabled() and (x_ND.requires_grad or up.requires_grad)
    if _HAS_TRITON and not trains and len(x_ND) <= DECODE_TOKENS:
        from microturn.kernels.moe_decode import experts_decode

        return experts_decode(x_ND, ids_NK, w_NK, up, down)
    return experts_grouped(x_ND, ids_NK, w_NK, up, down)
