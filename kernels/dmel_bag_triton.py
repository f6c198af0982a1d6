# mypy: ignore-errors
"""`dmel_bag.dmel_bag_reference` in one launch.

N frames of M bands, D width. Rows of a frame are added in the order of its bands, whatever N is.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BANDS_AT_ONCE = 16  # rows of the table in flight


@triton.jit
def _dmel_bag_kernel(
    ids,
    table,
    weight,
    out,
    eps,
    M: tl.constexpr,
    BINS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    i_n = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BLOCK_D)
    m_d = o_d < D
    b_sum = tl.zeros((BLOCK_D,), tl.float32)
    for first in range(0, M, BLOCK_M):
        o_m = first + tl.arange(0, BLOCK_M)
        m_m = o_m < M
        row = o_m * BINS + tl.load(ids + i_n * M + o_m, mask=m_m, other=0).to(tl.int32)
        m_rows = m_m[:, None] & m_d[None, :]
        rows = tl.load(table + row[:, None] * D + o_d[None, :], mask=m_rows, other=0.0)
        b_sum += tl.sum(rows.to(tl.float32), axis=0)
    b_w = tl.load(weight + o_d, mask=m_d, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(b_sum * b_sum) / D + eps)
    tl.store(out + i_n * D + o_d, (b_sum * scale * b_w).to(out.dtype.element_ty), mask=m_d)


def dmel_bag_triton(ids: Tensor, table: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`dmel_bag_reference` in one launch; no backward."""
    ids, table, (N, M) = ids.contiguous(), table.contiguous(), ids.shape
    D = table.shape[1]
    out = torch.empty(N, D, dtype=table.dtype, device=table.device)
    _dmel_bag_kernel[(N,)](
        ids,
        table,
        weight,
        out,
        eps,
        M=M,
        BINS=table.shape[0] // M,
        D=D,
        BLOCK_M=_BANDS_AT_ONCE,
        BLOCK_D=triton.next_power_of_2(D),
    )
    return out
