"""RMSNorm whose backward pass on a CPU is one step.

PyTorch composes the norm of six operations there and differentiates each: three times as many
calls as here, and every result between them kept. A GPU has a kernel of its own.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float | None = None) -> Tensor:
    """Norm x (..., W) and scale it by `weight` (W,), or the rows of x (..., H, W) by one (H, W).

    `eps` is by default that of `nn.RMSNorm`. The bits are those of `F.rms_norm`.
    """
    written_out = torch.is_grad_enabled() and x.dtype == torch.float32 and not x.is_cuda
    # A compiler joins the six by itself, and torch 2.11's gives `_RMSNorm` gradients of zero.
    if written_out and not torch.compiler.is_compiling():
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        y: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
        return y
    if weight.ndim == 1:
        return F.rms_norm(x, weight.shape, weight, eps)
    normal = F.rms_norm(x.float(), weight.shape[-1:], eps=eps)
    return (normal * weight).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """y = x * r * w with r = 1 / rms(x), in the order of `F.rms_norm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        normal = x * inverse
        of_normal = grad * weight
        along = (of_normal * normal).mean(-1, keepdim=True)  # a longer row gives the same output
        of_x = torch.addcmul(of_normal, normal, along, value=-1).mul_(inverse)
        return of_x, (grad * normal).flatten(0, -1 - weight.ndim).sum(0), None
