"""Sum and RMSNorm, and SwiGLU, row by row: the definitions. D and F widths."""

import torch.nn.functional as F
from torch import Tensor


def add_norm_reference(
    x: Tensor, y: Tensor, weight: Tensor, eps: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return x + y and its RMSNorm; `eps` is by default that of `nn.RMSNorm`."""
    total = x + y
    return total, F.rms_norm(total, weight.shape, weight, eps)


def swiglu_reference(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """silu(first half) * second half of (..., 2F), its S equal parts scaled by (..., S)."""
    gate, value = x.chunk(2, dim=-1)
    hidden = F.silu(gate) * value
    if scale is None:
        return hidden
    parts = hidden.unflatten(-1, (scale.shape[-1], -1))
    return (parts * scale.unsqueeze(-1).to(hidden.dtype)).flatten(-2)
