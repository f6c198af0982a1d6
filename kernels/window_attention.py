"""Attention of whole dialogues over a sliding window, in time and memory that grow with length.

A mask over all pairs of positions would cost as much as attention without a window. On a CPU,
queries come in blocks that read only the blocks of keys in reach; on a GPU, `flex_attention` skips
the blocks that a mask of blocks leaves out. In front of all keys lie sinks: every query reads them.

B rows, T queries, H query heads, G key/value heads, K head size, S sinks. The keys may begin before
the queries: E earlier positions, so that query t stands at position E + t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from microturn.kernels.batch_invariant import padded

_BLOCKS_PER_WINDOW = 4  # a block of queries reads a quarter more than its window
_MIN_BLOCK = 64  # smaller products are slower than what they leave out
_GPU_BLOCK = 128  # that of the kernels of flex_attention
_MIN_GPU_HEAD = 16  # numbers; its kernels take no smaller heads


@dataclass(frozen=True)
class Window:
    """What the T queries of a call may read in layers of one reach.

    Neither `mask` nor `blocks` is there where nothing lies beyond the window: attention is causal.
    """

    reach: int  # positions, the query's own included
    n_earlier: int  # E
    mask: Tensor | None = None  # (block, S + keys in reach of a block) True: allowed
    blocks: BlockMask | None = None  # (T, S + E + T) on a GPU

    @classmethod
    def plan(
        cls,
        T: int,
        reach: int,
        *,
        n_sinks: int,
        head_dim: int,
        device: torch.device,
        n_earlier: int = 0,
    ) -> Window:
        """Plan T queries, for all layers of this reach and these sinks."""
        if n_earlier == 0 and reach >= T:
            return cls(reach, 0)
        if device.type == "cuda" and head_dim >= _MIN_GPU_HEAD:
            blocks = block_mask(T, reach, n_sinks=n_sinks, device=device, n_earlier=n_earlier)
            return cls(reach, n_earlier, blocks=blocks)
        block = max(_MIN_BLOCK, -(-reach // _BLOCKS_PER_WINDOW))
        before = padded(reach - 1, block)  # keys before the block, in whole blocks
        query = before + torch.arange(block, device=device)[:, None]
        distance = query - torch.arange(before + block, device=device)
        mask = (distance >= 0) & (distance < reach)
        return cls(reach, n_earlier, mask=F.pad(mask, (n_sinks, 0), value=True))


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor] | None, window: Window
) -> Tensor:
    """Attend with queries (B, H, T, K) over keys and values (B, G, E + T, K), (B, H, T, K).

    sinks: keys and values (G, S, K). A key that is `reach` or more positions back is not read.
    """
    if sinks is not None:
        sinks = tuple(sink.to(k.dtype).expand(len(k), -1, -1, -1) for sink in sinks)  # type: ignore[assignment]
    if window.blocks is not None:
        k, v = _after(sinks, k, v)
        q, k = q.to(v.dtype), k.to(v.dtype)  # autocast knows no flex_attention
        return _compiled_flex()(q, k, v, block_mask=window.blocks, enable_gqa=True)
    if window.mask is not None:
        return _in_blocks(q, k, v, sinks, window)
    T, S = q.shape[2], 0 if sinks is None else sinks[0].shape[2]
    k, v = _after(sinks, k, v)
    q = F.pad(q, (0, 0, S, 0))  # a query of no interest for each sink keeps the rest causal
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[:, :, -T:]


def _after(sinks: tuple[Tensor, Tensor] | None, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Put sinks in front of keys and values."""
    if sinks is None:
        return k, v
    return torch.cat([sinks[0], k], dim=2), torch.cat([sinks[1], v], dim=2)


def _in_blocks(
    q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor] | None, window: Window
) -> Tensor:
    """Attend block by block; each block of queries reads the blocks of keys in its reach.

    Blocks of keys are those of the queries, the first one shorter where the keys begin earlier.
    `split` and not slices: the backward of a slice fills zeros for the whole dialogue.
    """
    assert window.mask is not None
    T, E, block = q.shape[2], window.n_earlier, len(window.mask)
    n_sinks = 0 if sinks is None else sinks[0].shape[2]
    before = window.mask.shape[1] - n_sinks - block
    first = [E % block] if E % block else []
    sizes = first + [block] * (E // block) + [min(block, T - t) for t in range(0, T, block)]
    keys, values = k.split(sizes, dim=2), v.split(sizes, dim=2)
    n_earlier_blocks, outputs = len(sizes) - -(-T // block), []
    for i, queries in enumerate(q.split(block, dim=2), start=n_earlier_blocks):
        seen = slice(max(0, i - before // block), i + 1)
        ks, vs = _after(sinks, torch.cat(keys[seen], dim=2), torch.cat(values[seen], dim=2))
        rows = queries.shape[2]
        missing = before + rows - (ks.shape[2] - n_sinks)  # the dialogue begins within the window
        mask = window.mask[:rows, : n_sinks + before + rows]
        mask = torch.cat([mask[:, :n_sinks], mask[:, n_sinks + missing :]], dim=1)
        outputs.append(
            F.scaled_dot_product_attention(queries, ks, vs, attn_mask=mask, enable_gqa=True)
        )
    return torch.cat(outputs, dim=2)


def block_mask(
    T: int, reach: int, *, n_sinks: int, device: torch.device, n_earlier: int = 0
) -> BlockMask:
    """Mask T queries over S + E + T keys for `flex_attention`, without a mask of all pairs."""
    n_keys, size = n_sinks + n_earlier + T, _GPU_BLOCK

    def allowed(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = query + n_earlier - (key - n_sinks)
        return (key < n_sinks) | ((distance >= 0) & (distance < reach))

    first_query = torch.arange(0, T, size, device=device)[:, None] + n_earlier
    last_query = (first_query + size - 1).clamp(max=n_earlier + T - 1)
    first_key = torch.arange(0, n_keys, size, device=device)
    last_key = (first_key + size - 1).clamp(max=n_keys - 1)
    of_sinks, all_sinks = first_key < n_sinks, last_key < n_sinks
    first_key, last_key = first_key - n_sinks, last_key - n_sinks  # positions
    some = (first_key <= last_query) & (last_key > first_query - reach) | of_sinks
    # A block at an end of either side has fewer places: let the kernel look at each of them.
    end = n_earlier + T
    whole = (first_key + size <= end) & (first_query + size <= end)
    in_reach = (last_key <= first_query) & (first_key.clamp(min=0) > last_query - reach)
    full = (in_reach | all_sinks) & whole
    return BlockMask.from_kv_blocks(
        *_in_order(some & ~full),
        *_in_order(full),
        BLOCK_SIZE=size,
        mask_mod=allowed,
        seq_lengths=(T, n_keys),
    )


def _in_order(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Count and list the chosen blocks of keys of each block of queries."""
    counts = chosen.sum(-1, dtype=torch.int32)
    order = torch.argsort(chosen.to(torch.int8), dim=-1, descending=True, stable=True)
    return counts[None, None], order.to(torch.int32)[None, None].contiguous()


@cache
def _compiled_flex() -> Callable[..., Any]:
    """`flex_attention` as a kernel: uncompiled it would compute all pairs."""
    return torch.compile(flex_attention)
