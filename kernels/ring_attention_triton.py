# mypy: ignore-errors
"""Attention of a few new positions over a ring of keys and values, in three launches.

`write` norms and rotates new queries and keys and stores keys and values in the ring; `attend`
reads a block of ring slots per program for all queries that share them; a last kernel joins the
blocks in slot order. The blocks depend on the size of the ring only: the result is batch-invariant.

Behind the ring a cache holds sinks, keys and values that every query reads.

B rows, T new positions, H query heads, G key/value heads, R = H/G, K head size, C ring slots,
S sinks.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = triton.knobs.runtime.interpret
_BLOCK_C = 64  # ring slots of one program


@triton.jit(do_not_specialize=["T", "p_stride", "a_stride"])
def _write_kernel(
    qkv,
    q_weight,
    k_weight,
    cos,
    sin,
    positions,
    q,
    k_cache,
    v_cache,
    T,
    p_stride,
    a_stride,
    eps,
    H: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    C: tl.constexpr,
    S: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One head of one new position."""
    i_n, i_h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i_b, i_t = i_n // T, i_n % T
    HALF: tl.constexpr = K // 2
    o = tl.arange(0, BLOCK)
    m = o < HALF
    p_x = qkv + (i_n * (H + 2 * G) + i_h) * K + o
    b_a = tl.load(p_x, mask=m, other=0.0).to(tl.float32)
    b_b = tl.load(p_x + HALF, mask=m, other=0.0).to(tl.float32)
    is_q, is_v = i_h < H, i_h >= H + G
    scale = 1.0 / tl.sqrt((tl.sum(b_a * b_a) + tl.sum(b_b * b_b)) / K + eps)
    p_angle = i_b * a_stride + i_t * HALF + o
    b_cos = tl.load(cos + p_angle, mask=m, other=0.0)
    b_sin = tl.load(sin + p_angle, mask=m, other=0.0)
    w_qa = tl.load(q_weight + o, mask=m & is_q, other=0.0).to(tl.float32)
    w_qb = tl.load(q_weight + HALF + o, mask=m & is_q, other=0.0).to(tl.float32)
    w_ka = tl.load(k_weight + o, mask=m, other=0.0).to(tl.float32)
    w_kb = tl.load(k_weight + HALF + o, mask=m, other=0.0).to(tl.float32)
    n_a = b_a * scale * tl.where(is_q, w_qa, w_ka)
    n_b = b_b * scale * tl.where(is_q, w_qb, w_kb)
    y_a = tl.where(is_v, b_a, n_a * b_cos - n_b * b_sin)
    y_b = tl.where(is_v, b_b, n_a * b_sin + n_b * b_cos)
    p_q = q + ((i_b * H + i_h) * T + i_t) * K + o
    tl.store(p_q, y_a.to(q.dtype.element_ty), mask=m & is_q)
    tl.store(p_q + HALF, y_b.to(q.dtype.element_ty), mask=m & is_q)
    slot = tl.load(positions + i_b * p_stride + i_t) % C
    i_g = tl.where(is_v, i_h - H - G, i_h - H)
    p_ring = ((i_b * G + i_g) * (C + S) + slot) * K + o
    is_k = (i_h >= H) & (i_h < H + G)
    tl.store(k_cache + p_ring, y_a.to(k_cache.dtype.element_ty), mask=m & is_k)
    tl.store(k_cache + p_ring + HALF, y_b.to(k_cache.dtype.element_ty), mask=m & is_k)
    tl.store(v_cache + p_ring, y_a.to(v_cache.dtype.element_ty), mask=m & is_v)
    tl.store(v_cache + p_ring + HALF, y_b.to(v_cache.dtype.element_ty), mask=m & is_v)


@triton.jit(do_not_specialize=["T", "p_stride"])
def _attend_kernel(
    q,
    k_cache,
    v_cache,
    positions,
    acc,
    top,
    total,
    T,
    p_stride,
    scale,
    G: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
    C: tl.constexpr,
    S: tl.constexpr,
    WINDOW: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """BLOCK_C ring slots for all queries of one key/value head of one row."""
    i_s, i_bg = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i_b = i_bg // G
    o_m, o_k = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    o_c = i_s * BLOCK_C + tl.arange(0, BLOCK_C)
    m_m, m_k = o_m < R * T, o_k < K
    o_t = o_m % T
    b_pos = tl.load(positions + i_b * p_stride + o_t, mask=m_m, other=0)
    last = tl.load(positions + i_b * p_stride + T - 1)
    b_held = last - ((last - o_c) % C + C) % C
    distance = b_pos[:, None] - b_held[None, :]
    m_s = (o_c >= C) & (o_c < C + S)
    m_r = (o_c < C) & (b_held >= 0)
    m_c = m_s | (m_r & (b_held > last - T - WINDOW))
    allowed = (distance >= 0) & (distance < WINDOW) & m_r[None, :]
    allowed = (allowed | m_s[None, :]) & m_m[:, None]
    # q is (B, G, R, T, K): the rows of one program lie side by side
    p_q = q + (i_bg * R * T + o_m[:, None]) * K + o_k[None, :]
    b_q = tl.load(p_q, mask=m_m[:, None] & m_k[None, :], other=0.0)
    p_ring = (i_bg * (C + S) + o_c[:, None]) * K + o_k[None, :]
    m_ck = m_c[:, None] & m_k[None, :]
    b_k = tl.load(k_cache + p_ring, mask=m_ck, other=0.0)
    b_v = tl.load(v_cache + p_ring, mask=m_ck, other=0.0)
    if UPCAST:
        b_q, b_k, b_v = b_q.to(tl.float32), b_k.to(tl.float32), b_v.to(tl.float32)
    b_s = tl.dot(b_q, tl.trans(b_k), input_precision=PRECISION) * scale
    b_s = tl.where(allowed, b_s, -1e30)
    b_top = tl.max(b_s, axis=1)
    b_p = tl.where(allowed, tl.exp(b_s - b_top[:, None]), 0.0)
    b_acc = tl.dot(b_p.to(b_v.dtype), b_v, input_precision=PRECISION)
    o_r = (i_bg * R * T + o_m) * SPLITS + i_s
    tl.store(top + o_r, b_top, mask=m_m)
    tl.store(total + o_r, tl.sum(b_p, axis=1), mask=m_m)
    tl.store(acc + o_r[:, None] * K + o_k[None, :], b_acc, mask=m_m[:, None] & m_k[None, :])


@triton.jit(do_not_specialize=["T"])
def _join_kernel(
    acc,
    top,
    total,
    y,
    T,
    H: tl.constexpr,
    K: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One query: its blocks become one vector of y (B, T, H * K)."""
    i_r = tl.program_id(0).to(tl.int64)  # (b * H + h) * T + t
    i_t, i_h, i_b = i_r % T, i_r // T % H, i_r // T // H
    o_s, o_k = tl.arange(0, BLOCK_S), tl.arange(0, BLOCK_K)
    m_s, m_k = o_s < SPLITS, o_k < K
    b_top = tl.load(top + i_r * SPLITS + o_s, mask=m_s, other=-1e30)
    b_w = tl.where(m_s, tl.exp(b_top - tl.max(b_top, axis=0)), 0.0)
    b_total = tl.load(total + i_r * SPLITS + o_s, mask=m_s, other=0.0)
    p_acc = acc + (i_r * SPLITS + o_s[:, None]) * K + o_k[None, :]
    b_acc = tl.load(p_acc, mask=m_s[:, None] & m_k[None, :], other=0.0)
    b_y = tl.sum(b_acc * b_w[:, None], axis=0) / tl.sum(b_total * b_w, axis=0)
    tl.store(y + ((i_b * T + i_t) * H + i_h) * K + o_k, b_y.to(y.dtype.element_ty), mask=m_k)


def ring_attention_triton(
    qkv: Tensor,
    weights: tuple[Tensor, Tensor],
    angles: tuple[Tensor, Tensor],
    positions: Tensor,
    cache: tuple[Tensor, Tensor],
    window: int,
    eps: float,
    n_sinks: int = 0,
) -> Tensor:
    """qkv (B, T, (H + 2G) * K) of new positions (B, T) to (B, T, H * K); writes into `cache`.

    weights of the norms of queries and keys (K,); angles: cosine and sine (B, T, K/2), fp32;
    cache: keys and values (B, G, C + S, K), contiguous. No backward.
    """
    (B, T, width), (_, G, slots, K) = qkv.shape, cache[0].shape
    C = slots - n_sinks
    H, device = width // K - 2 * G, qkv.device
    qkv, rows = qkv.contiguous(), B * H * T
    q = torch.empty(rows, K, dtype=cache[0].dtype, device=device)
    cos, sin = angles
    assert cos.stride()[1:] == (K // 2, 1)
    assert cos.stride() == sin.stride()
    _write_kernel[(B * T, H + 2 * G)](
        qkv,
        *weights,
        cos,
        sin,
        positions,
        q,
        *cache,
        T,
        positions.stride(0),
        cos.stride(0),
        eps,
        H=H,
        G=G,
        K=K,
        C=C,
        S=n_sinks,
        BLOCK=triton.next_power_of_2(K // 2),
        num_warps=1,
    )
    splits = triton.cdiv(slots, _BLOCK_C)
    acc = torch.empty(rows, splits, K, dtype=torch.float32, device=device)
    top = torch.empty(rows, splits, dtype=torch.float32, device=device)
    total = torch.empty(rows, splits, dtype=torch.float32, device=device)
    block_k = max(16, triton.next_power_of_2(K))
    _attend_kernel[(splits, B * G)](
        q,
        *cache,
        positions,
        acc,
        top,
        total,
        T,
        positions.stride(0),
        K**-0.5,
        G=G,
        R=H // G,
        K=K,
        C=C,
        S=n_sinks,
        WINDOW=window,
        SPLITS=splits,
        BLOCK_M=max(16, triton.next_power_of_2(H // G * T)),
        BLOCK_C=_BLOCK_C,
        BLOCK_K=block_k,
        PRECISION="ieee" if INTERPRETED else "tf32x3",  # fp32 to its last bits, on tensor cores
        UPCAST=INTERPRETED,
        num_warps=4 if H // G * T <= 32 else 8,
        num_stages=1,
    )
    y = torch.empty(B, T, H * K, dtype=qkv.dtype, device=device)
    _join_kernel[(rows,)](
        acc,
        top,
        total,
        y,
        T,
        H=H,
        K=K,
        SPLITS=splits,
        BLOCK_S=triton.next_power_of_2(splits),
        BLOCK_K=block_k,
        num_warps=2,
    )
    return y
