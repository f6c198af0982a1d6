# mypy: ignore-errors
"""`router.route_reference` in one launch. It is batch-invariant.

N tokens, D width, E routed experts, S shared ones, K selected.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _fwd_kernel(
    x,
    weight,
    bias,
    ids,
    w,
    scale,
    D: tl.constexpr,
    E: tl.constexpr,
    S: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One token: w (N, K + S) holds the weights of the selected, then of the shared experts."""
    i_n = tl.program_id(0).to(tl.int64)
    o_e = tl.arange(0, BLOCK_E)
    m_e = o_e < E + S
    b_sum = tl.zeros((BLOCK_E, BLOCK_D), dtype=tl.float32)
    for i_d in tl.range(0, D, BLOCK_D, num_stages=3):
        o_d = i_d + tl.arange(0, BLOCK_D)
        m_d = o_d < D
        b_x = tl.load(x + i_n * D + o_d, mask=m_d, other=0.0).to(tl.float32)
        p_w = weight + o_e[:, None] * D + o_d[None, :]
        b_w = tl.load(p_w, mask=m_e[:, None] & m_d[None, :], other=0.0).to(tl.float32)
        b_sum += b_w * b_x[None, :]
    b_score = tl.sigmoid(tl.sum(b_sum, axis=1))
    b_bias = tl.load(bias + o_e, mask=o_e < E, other=0.0).to(tl.float32)
    b_select = b_score + b_bias
    b_select = tl.where(b_select == b_select, b_select, -1e30)  # NaN is wanted by nobody
    b_select = tl.where(o_e < E, b_select, float("-inf"))

    o_k = tl.arange(0, BLOCK_K)
    b_ids = tl.zeros((BLOCK_K,), dtype=tl.int32)
    b_chosen = tl.zeros((BLOCK_K,), dtype=tl.float32)
    for k in tl.static_range(TOP_K):
        i_best = tl.argmax(b_select, axis=0)
        b_ids = tl.where(o_k == k, i_best, b_ids)
        b_chosen = tl.where(o_k == k, tl.sum(tl.where(o_e == i_best, b_score, 0.0)), b_chosen)
        b_select = tl.where(o_e == i_best, float("-inf"), b_select)
    m_shared = (o_e >= E) & m_e
    total = tl.sum(b_chosen) + tl.sum(tl.where(m_shared, b_score, 0.0)) + 1e-9
    tl.store(ids + i_n * TOP_K + o_k, b_ids.to(tl.int64), mask=o_k < TOP_K)
    p_w = w + i_n * (TOP_K + S)
    tl.store(p_w + o_k, b_chosen / total * scale, mask=o_k < TOP_K)
    tl.store(p_w + TOP_K + o_e - E, b_score / total * scale, mask=m_shared)


def route_triton(
    x_ND: Tensor, weight: Tensor, bias: Tensor, top_k: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`route_reference` in one launch; no backward. Equal scores: the lower expert wins."""
    (N, D), E = x_ND.shape, len(bias)
    S = len(weight) - E
    ids = torch.empty(N, top_k, dtype=torch.int64, device=x_ND.device)
    w = torch.empty(N, top_k + S, dtype=torch.float32, device=x_ND.device)
    block_e = triton.next_power_of_2(E + S)
    _fwd_kernel[(N,)](
        x_ND.contiguous(),
        weight.contiguous(),
        bias.contiguous(),
        ids,
        w,
        float(scale),
        D=D,
        E=E,
        S=S,
        TOP_K=top_k,
        BLOCK_E=block_e,
        BLOCK_K=triton.next_power_of_2(top_k),
        BLOCK_D=max(1, min(64, 8192 // block_e, triton.next_power_of_2(D))),
        num_warps=8,
    )
    return ids, w[:, :top_k], w[:, top_k:]
