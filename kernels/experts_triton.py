# mypy: ignore-errors
"""Expert SwiGLU layers for the few tokens of a live micro-turn: every weight is read once.

The time goes into reading weights: 16 tokens need about 40 of 64 experts, 3 MiB each. So a program
owns (expert, block of columns), streams its weights through shared memory once and multiplies them
with up to 16 tokens of that expert. Each program finds its tokens among the few hundred expert ids:
no sort, no padding, no extra launch. Up to `PAIR_TOKENS` tokens hardly share experts, and a program
owns (pair, block of columns) instead.

Batch-invariant: the sum along D and F has the same order for every number of tokens, every mapping
and every tile, and the sum over a token's experts is in slot order, without atomics.

N tokens, K experts per token, P = N*K pairs (pair = token*K + slot), E experts, D model width,
F expert width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from microturn.kernels.experts_tiles import (
    PAIR_TOKENS,
    Streams,
    Tile,
    numbers_ahead,
    plan_for,
    takes_hints,
)

INTERPRETED = triton.knobs.runtime.interpret
_BLOCK_M = 16  # tokens of one expert that share one pass over its weights; the tensor cores' least


@triton.jit
def _pairs_of(ids, i_g, P, by_pair, BLOCK_P: tl.constexpr):
    """Return this program's expert, a mask of its pairs, and their number."""
    o_p = tl.arange(0, BLOCK_P)
    b_ids = tl.load(ids + o_p, mask=o_p < P, other=-1).to(tl.int32)
    pair_expert = tl.sum(tl.where(o_p == i_g, b_ids, 0))
    i_e = tl.where(by_pair != 0, pair_expert, i_g)
    m_p = tl.where(by_pair != 0, o_p == i_g, b_ids == i_g)
    return i_e.to(tl.int64), m_p, tl.sum(m_p.to(tl.int32))


@triton.jit
def _rows_of(m_p, b_rank, o_m, BLOCK_P: tl.constexpr):
    """Return the numbers of the pairs whose ranks are o_m, (BLOCK_M,)."""
    o_p = tl.arange(0, BLOCK_P)
    m_mp = m_p[None, :] & (b_rank[None, :] == o_m[:, None])
    return tl.sum(tl.where(m_mp, o_p[None, :], 0), axis=1)


@triton.jit
def _fetch_into_l2(p, size):
    """Ask for `size` bytes, a multiple of 16, from each address on; of Hopper and later."""
    tl.inline_asm_elementwise(
        "cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, 0;",
        "=r,l,r",
        [p, size],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit(do_not_specialize=["P", "by_pair"])
def _up_kernel(
    x,
    ids,
    up,
    down,
    hidden,
    P,
    by_pair,
    D: tl.constexpr,
    F: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
    UPCAST: tl.constexpr,
    OVERLAP: tl.constexpr,
    AHEAD: tl.constexpr,
    THREADS: tl.constexpr,
):
    """hidden (P, F) = silu(x gate) * (x value), for the pairs of one expert and BLOCK_F columns.

    AHEAD: numbers of `down` that each of the THREADS asks the L2 to fetch; the programs of a pair
    together ask for all of its expert. 0: none.
    """
    i_f = tl.program_id(0)
    if OVERLAP:
        gdc_launch_dependents()
    i_e, m_p, count = _pairs_of(ids, tl.program_id(1), P, by_pair, BLOCK_P)
    if count == 0:
        return
    if AHEAD:
        o_t = (i_f * THREADS + tl.arange(0, THREADS)) * AHEAD
        size = tl.full((THREADS,), AHEAD * down.dtype.element_ty.primitive_bitwidth // 8, tl.int32)
        _fetch_into_l2(down + i_e * F * D + o_t, size)
    b_rank = tl.cumsum(m_p.to(tl.int32), 0) - 1
    o_f = i_f * BLOCK_F + tl.arange(0, BLOCK_F)
    m_f = o_f < F
    o_d = tl.arange(0, BLOCK_D)
    p_up = up + i_e * D * (2 * F) + o_f
    i_m = 0
    while i_m < count:
        o_m = i_m + tl.arange(0, BLOCK_M)
        m_m = o_m < count
        b_pair = _rows_of(m_p, b_rank, o_m, BLOCK_P).to(tl.int64)
        p_x = x + (b_pair // TOP_K) * D
        b_gate = tl.zeros((BLOCK_M, BLOCK_F), dtype=tl.float32)
        b_value = tl.zeros((BLOCK_M, BLOCK_F), dtype=tl.float32)
        for i_d in range(0, D, BLOCK_D):
            m_d = i_d + o_d < D
            m_df = m_d[:, None] & m_f[None, :]
            p_w = p_up[None, :] + (i_d + o_d)[:, None].to(tl.int64) * (2 * F)
            b_x = tl.load(
                p_x[:, None] + (i_d + o_d)[None, :], mask=m_m[:, None] & m_d[None, :], other=0.0
            )
            b_wg = tl.load(p_w, mask=m_df, other=0.0)
            b_wv = tl.load(p_w + F, mask=m_df, other=0.0)
            if UPCAST:  # the interpreter multiplies the bits of bf16
                b_x, b_wg, b_wv = b_x.to(tl.float32), b_wg.to(tl.float32), b_wv.to(tl.float32)
            b_gate = tl.dot(b_x, b_wg, b_gate, input_precision="ieee")
            b_value = tl.dot(b_x, b_wv, b_value, input_precision="ieee")
        b_h = b_gate * tl.sigmoid(b_gate) * b_value
        tl.store(
            hidden + b_pair[:, None] * F + o_f[None, :],
            b_h.to(hidden.dtype.element_ty),
            mask=m_m[:, None] & m_f[None, :],
        )
        i_m += BLOCK_M


@triton.jit(do_not_specialize=["P", "by_pair", "w_stride"])
def _down_kernel(
    hidden,
    ids,
    w,
    down,
    rows,
    P,
    by_pair,
    w_stride,
    D: tl.constexpr,
    F: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """rows (P, D) = weight * (hidden down), for the pairs of one expert and BLOCK_D columns."""
    i_d = tl.program_id(0)
    i_e, m_p, count = _pairs_of(ids, tl.program_id(1), P, by_pair, BLOCK_P)
    if count == 0:
        return
    if OVERLAP:
        gdc_wait()  # for `hidden`
    b_rank = tl.cumsum(m_p.to(tl.int32), 0) - 1
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    o_f = tl.arange(0, BLOCK_F)
    p_down = down + i_e * F * D + o_d
    i_m = 0
    while i_m < count:
        o_m = i_m + tl.arange(0, BLOCK_M)
        m_m = o_m < count
        b_pair = _rows_of(m_p, b_rank, o_m, BLOCK_P).to(tl.int64)
        b_w = tl.load(w + (b_pair // TOP_K) * w_stride + b_pair % TOP_K, mask=m_m, other=0.0)
        p_h = hidden + b_pair * F
        b_y = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
        for i_f in range(0, F, BLOCK_F):
            m_f = i_f + o_f < F
            p_w = p_down[None, :] + (i_f + o_f)[:, None].to(tl.int64) * D
            b_h = tl.load(
                p_h[:, None] + (i_f + o_f)[None, :], mask=m_m[:, None] & m_f[None, :], other=0.0
            )
            b_wd = tl.load(p_w, mask=m_f[:, None] & m_d[None, :], other=0.0)
            if UPCAST:
                b_h, b_wd = b_h.to(tl.float32), b_wd.to(tl.float32)
            b_y = tl.dot(b_h, b_wd, b_y, input_precision="ieee")
        b_y = b_y * b_w.to(tl.float32)[:, None]
        tl.store(rows + b_pair[:, None] * D + o_d[None, :], b_y, mask=m_m[:, None] & m_d[None, :])
        i_m += BLOCK_M


@triton.jit
def _sum_kernel(rows, y, D, TOP_K: tl.constexpr, BLOCK_D: tl.constexpr):
    """y (N, D) = the sum of each token's rows, slot by slot."""
    i_n = tl.program_id(0).to(tl.int64)
    o_d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    b_y = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for k in range(TOP_K):
        b_y += tl.load(rows + (i_n * TOP_K + k) * D + o_d, mask=m_d, other=0.0)
    tl.store(y + i_n * D + o_d, b_y.to(y.dtype.element_ty), mask=m_d)


@triton.jit(do_not_specialize=["w_stride"])
def _down_token_kernel(
    hidden,
    ids,
    w,
    down,
    y,
    w_stride,
    D: tl.constexpr,
    F: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """y (N, D) for one token and BLOCK_D columns: slot by slot, in one stream of loads."""
    i_d = tl.program_id(0)
    i_n = tl.program_id(1).to(tl.int64)
    BLOCKS: tl.constexpr = (F + BLOCK_F - 1) // BLOCK_F  # of one slot
    o_k = tl.arange(0, BLOCK_K)
    b_ids = tl.load(ids + i_n * TOP_K + o_k, mask=o_k < TOP_K, other=0).to(tl.int64)
    b_w = tl.load(w + i_n * w_stride + o_k, mask=o_k < TOP_K, other=0.0).to(tl.float32)
    if OVERLAP:
        gdc_wait()  # for `hidden`
    o_m = tl.arange(0, BLOCK_M)
    m_m = o_m == 0
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    b_slot = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    b_y = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    for i in range(0, TOP_K * BLOCKS):
        k = i // BLOCKS
        o_f = (i % BLOCKS) * BLOCK_F + tl.arange(0, BLOCK_F)
        m_f = o_f < F
        i_e = tl.sum(tl.where(o_k == k, b_ids, 0))
        p_h = hidden + (i_n * TOP_K + k) * F + o_f
        b_h = tl.load(p_h[None, :] + 0 * o_m[:, None], mask=m_m[:, None] & m_f[None, :], other=0.0)
        p_w = down + i_e * F * D + o_f[:, None].to(tl.int64) * D + o_d[None, :]
        b_wd = tl.load(p_w, mask=m_f[:, None] & m_d[None, :], other=0.0)
        if UPCAST:
            b_h, b_wd = b_h.to(tl.float32), b_wd.to(tl.float32)
        b_slot = tl.dot(b_h, b_wd, b_slot, input_precision="ieee")
        ends = i % BLOCKS == BLOCKS - 1
        b_y += tl.where(ends, b_slot * tl.sum(tl.where(o_k == k, b_w, 0.0)), 0.0)
        b_slot = tl.where(ends, 0.0, b_slot)
    p_y = y + i_n * D + o_d[None, :] + 0 * o_m[:, None]
    tl.store(p_y, b_y.to(y.dtype.element_ty), mask=m_m[:, None] & m_d[None, :])


def up_decode(
    x_ND: Tensor,
    ids_NK: Tensor,
    up: Tensor,
    down: Tensor,
    tile: Tile,
    *,
    by_pair: bool,
    streams: Streams,
) -> Tensor:
    """Compute gate, value and SwiGLU of all pairs, (P, F); `down` is only asked for ahead."""
    (N, K), (E, D, F2) = ids_NK.shape, up.shape
    hidden = torch.empty(N * K, F2 // 2, dtype=up.dtype, device=x_ND.device)
    blocks, threads = triton.cdiv(F2 // 2, tile.columns), 32 * tile.warps
    ahead = streams.ahead and by_pair and takes_hints(up)
    _up_kernel[(blocks, N * K if by_pair else E)](
        x_ND,
        ids_NK,
        up,
        down,
        hidden,
        N * K,
        int(by_pair),
        D=D,
        F=F2 // 2,
        TOP_K=K,
        BLOCK_P=_block_p(N * K),
        BLOCK_M=_BLOCK_M,
        BLOCK_F=tile.columns,
        BLOCK_D=tile.depth,
        UPCAST=INTERPRETED,
        OVERLAP=streams.overlap and takes_hints(up),
        AHEAD=numbers_ahead(down, blocks * threads) if ahead else 0,
        THREADS=threads,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return hidden


def down_decode(
    hidden: Tensor,
    ids_NK: Tensor,
    w_NK: Tensor,
    down: Tensor,
    tile: Tile,
    dtype: torch.dtype,
    *,
    by_pair: bool = False,
    overlap: bool = False,
) -> Tensor:
    """Compute the mixed output (N, D): pair by pair or expert by expert, then slot by slot."""
    (N, K), (E, F_, D) = ids_NK.shape, down.shape
    rows = torch.empty(N * K, D, dtype=torch.float32, device=hidden.device)
    overlap = overlap and takes_hints(down)
    _down_kernel[(triton.cdiv(D, tile.columns), N * K if by_pair else E)](
        hidden,
        ids_NK,
        w_NK,
        down,
        rows,
        N * K,
        int(by_pair),
        w_NK.stride(0),
        D=D,
        F=F_,
        TOP_K=K,
        BLOCK_P=_block_p(N * K),
        BLOCK_M=_BLOCK_M,
        BLOCK_D=tile.columns,
        BLOCK_F=tile.depth,
        UPCAST=INTERPRETED,
        OVERLAP=overlap,
        num_warps=tile.warps,
        num_stages=tile.stages,
        launch_pdl=overlap,
    )
    y = torch.empty(N, D, dtype=dtype, device=hidden.device)
    block = min(triton.next_power_of_2(D), 512)
    _sum_kernel[(N, triton.cdiv(D, block))](rows, y, D, TOP_K=K, BLOCK_D=block)
    return y


def down_token_decode(
    hidden: Tensor,
    ids_NK: Tensor,
    w_NK: Tensor,
    down: Tensor,
    tile: Tile,
    dtype: torch.dtype,
    *,
    overlap: bool = False,
) -> Tensor:
    """Compute the mixed output (N, D) token by token in one launch."""
    (N, K), (_, F_, D) = ids_NK.shape, down.shape
    y = torch.empty(N, D, dtype=dtype, device=hidden.device)
    overlap = overlap and takes_hints(down)
    _down_token_kernel[(triton.cdiv(D, tile.columns), N)](
        hidden,
        ids_NK,
        w_NK,
        down,
        y,
        w_NK.stride(0),
        D=D,
        F=F_,
        TOP_K=K,
        BLOCK_K=triton.next_power_of_2(K),
        BLOCK_M=_BLOCK_M,
        BLOCK_D=tile.columns,
        BLOCK_F=tile.depth,
        UPCAST=INTERPRETED,
        OVERLAP=overlap,
        num_warps=tile.warps,
        num_stages=tile.stages,
        launch_pdl=overlap,
        enable_fp_fusion=False,  # weight * row + sum in two roundings, as in `down_decode`
    )
    return y


def experts_decode(
    x_ND: Tensor,
    ids_NK: Tensor,
    w_NK: Tensor,
    up: Tensor,
    down: Tensor,
    tiles: tuple[Tile, Tile] | None = None,
    by_pair: bool | None = None,
    streams: Streams | None = None,
) -> Tensor:
    """Compute the weighted sum over each token's experts, (N, D); no backward.

    Multiplies in the weights' type and sums in fp32. `tiles`, `by_pair` and `streams` are for
    benches: they change the time, never the bits.
    """
    N, dtype = len(x_ND), x_ND.dtype
    x_ND, ids_NK = x_ND.to(up.dtype).contiguous(), ids_NK.contiguous()
    up, down = up.contiguous(), down.contiguous()
    w_NK = w_NK if w_NK.stride(-1) == 1 else w_NK.contiguous()
    built_in = plan_for(N, up.dtype)
    up_tile, down_tile = tiles or built_in[0]
    streams = built_in[1] if streams is None else streams
    by_pair = N <= PAIR_TOKENS if by_pair is None else by_pair
    hidden = up_decode(x_ND, ids_NK, up, down, up_tile, by_pair=by_pair, streams=streams)
    mix, how = (hidden, ids_NK, w_NK, down, down_tile, dtype), {"overlap": streams.overlap}
    if by_pair and not streams.by_slot:
        return down_token_decode(*mix, **how)
    return down_decode(*mix, by_pair=by_pair, **how)


def _block_p(pairs: int) -> int:
    """Return the size of a block of all pairs; at least 128, so that few versions are compiled."""
    return max(128, triton.next_power_of_2(pairs))
