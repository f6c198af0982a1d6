# mypy: ignore-errors
"""The operations of `pointwise.py`, each in one launch. N rows, D and F widths."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _add_norm_kernel(x, y, weight, total, normed, eps, D: tl.constexpr, BLOCK: tl.constexpr):
    i_n = tl.program_id(0).to(tl.int64)
    o = tl.arange(0, BLOCK)
    m = o < D
    b_x = tl.load(x + i_n * D + o, mask=m, other=0.0).to(tl.float32)
    b_y = tl.load(y + i_n * D + o, mask=m, other=0.0).to(tl.float32)
    b_sum = (b_x + b_y).to(total.dtype.element_ty)
    tl.store(total + i_n * D + o, b_sum, mask=m)
    b_sum = b_sum.to(tl.float32)
    b_w = tl.load(weight + o, mask=m, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(b_sum * b_sum) / D + eps)
    tl.store(normed + i_n * D + o, (b_sum * scale * b_w).to(normed.dtype.element_ty), mask=m)


def add_norm_triton(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`add_norm_reference` of (..., D) in one launch; no backward."""
    x, y, D = x.contiguous(), y.contiguous(), x.shape[-1]
    total, normed = torch.empty_like(x), torch.empty_like(x)
    block = triton.next_power_of_2(D)
    _add_norm_kernel[(x.numel() // D,)](x, y, weight, total, normed, eps, D=D, BLOCK=block)
    return total, normed


@triton.jit(do_not_specialize=["s_stride"])
def _swiglu_kernel(
    x,
    scale,
    y,
    s_stride,
    WIDTH: tl.constexpr,
    F: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i_n = tl.program_id(0).to(tl.int64)
    o = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    m = o < F
    b_gate = tl.load(x + i_n * 2 * F + o, mask=m, other=0.0).to(tl.float32)
    b_value = tl.load(x + i_n * 2 * F + F + o, mask=m, other=0.0).to(tl.float32)
    b_y = b_gate * tl.sigmoid(b_gate) * b_value
    if SCALED:
        b_y *= tl.load(scale + i_n * s_stride + o // WIDTH, mask=m, other=0.0).to(tl.float32)
    tl.store(y + i_n * F + o, b_y.to(y.dtype.element_ty), mask=m)


def swiglu_triton(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """`swiglu_reference` of (N, 2F) in one launch; no backward."""
    x, (N, F2) = x.contiguous(), x.shape
    y = torch.empty(N, F2 // 2, dtype=x.dtype, device=x.device)
    parts = 1 if scale is None else scale.shape[-1]
    block = min(1024, triton.next_power_of_2(F2 // 2))
    _swiglu_kernel[(N, triton.cdiv(F2 // 2, block))](
        x,
        x if scale is None else scale,
        y,
        0 if scale is None else scale.stride(0),
        WIDTH=F2 // 2 // parts,
        F=F2 // 2,
        SCALED=scale is not None,
        BLOCK=block,
    )
    return y
