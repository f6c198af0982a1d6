"""Attention of whole dialogues over a sliding window, in time and memory that grow with length.

A mask over all pairs of positions would cost as much as attention without a window. On a CPU,
queries come in blocks that read only the keys in reach; on a GPU, `flex_attention` skips the blocks
that a mask of blocks leaves out. In front of all keys lie sinks: every query reads them.

B rows, T queries, H query heads, G key/value heads, K head size, S sinks. The keys may begin before
the queries: E earlier positions, so that query t stands at position E + t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

BLOCKS_PER_WINDOW = 5  # a block of queries reads a fifth more than its window
MIN_BLOCK = 64
_GPU_BLOCK = 128  # that of the kernels of flex_attention
_MIN_GPU_HEAD = 16  # numbers; its kernels take no smaller heads


@dataclass(frozen=True)
class Window:
    """What the T queries of a call may read in layers of one reach.

    The first queries, the head, lie within `reach` of position 0 and read all that came before
    them; the others come in blocks of one size, each with as many keys.
    """

    reach: int  # positions, the query's own included
    n_earlier: int  # E
    head: tuple[tuple[int, Tensor | None], ...] = ()  # (queries, mask) of its parts, in order
    mask: Tensor | None = None  # (block, S + reach + block) of every block after the head
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
        """Plan T queries, for all layers of this reach and these sinks; E is at most `reach`.

        Masks (queries, S + keys) are added to scores, -inf where a key is not read; without one
        attention is causal.
        """
        E, n_head = n_earlier, min(T, reach - n_earlier)
        assert n_head >= 0
        if device.type == "cuda" and n_head < E + T and head_dim >= _MIN_GPU_HEAD:
            blocks = block_mask(T, reach, n_sinks=n_sinks, device=device, n_earlier=E)
            return cls(reach, E, blocks=blocks)

        def mask(first_query: int, n: int, n_keys: int) -> Tensor:
            query = torch.arange(first_query, first_query + n, device=device)[:, None]
            distance = query - torch.arange(n_keys, device=device)
            unread = (distance < 0) | (distance >= reach)
            scores = torch.zeros(unread.shape, device=device).masked_fill_(unread, -torch.inf)
            return F.pad(scores, (n_sinks, 0)) if n_sinks else scores

        size = max(MIN_BLOCK, reach // BLOCKS_PER_WINDOW)
        if E == 0 and (n_head <= size or device.type == "cuda"):
            head: list[tuple[int, Tensor | None]] = [(n_head, None)]
        else:
            sizes = [min(size, n_head - start) for start in range(0, n_head, size)]
            ends = [E + end for end in accumulate(sizes)]
            head = [(n, mask(end - n, n, end)) for n, end in zip(sizes, ends, strict=True)]
        if n_head == T:
            return cls(reach, E, tuple(head))
        n_blocks = -(-(T - n_head) // size)
        block = -(-(T - n_head) // n_blocks)
        return cls(reach, E, tuple(head), mask(reach, block, reach + block))


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor] | None, window: Window
) -> Tensor:
    """Attend with queries (B, H, T, K) over keys and values (B, G, E + T, K), (B, H, T, K).

    sinks: keys and values (G, S, K). A key that is `reach` or more positions back is not read.
    """
    if window.blocks is not None:
        k, v = _after(sinks, k, v)
        q, k = q.to(v.dtype), k.to(v.dtype)  # autocast knows no flex_attention
        return _compiled_flex()(q, k, v, block_mask=window.blocks, enable_gqa=True)
    sizes = [n for n, _ in window.head]
    end = window.n_earlier + sum(sizes)
    first_keys, first_values = (x[:, :, :end] if x.shape[2] > end else x for x in (k, v))
    # `split` and not slices: the backward of a slice fills zeros for the whole dialogue.
    *heads, rest = q.split([*sizes, q.shape[2] - sum(sizes)], dim=2)
    outputs, end = [], window.n_earlier
    for queries, (n, mask) in zip(heads, window.head, strict=True):
        end += n
        outputs.append(_all(queries, first_keys[:, :, :end], first_values[:, :, :end], sinks, mask))
    if window.mask is not None:
        outputs.append(_in_blocks(rest, k, v, sinks, window.mask))
    # By position, as the outputs lie in memory.
    return torch.cat([y.transpose(1, 2) for y in outputs], dim=1).transpose(1, 2)


def _after(sinks: tuple[Tensor, Tensor] | None, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Put sinks in front of keys and values."""
    if sinks is None:
        return k, v
    keys, values = (sink.to(k.dtype).expand(len(k), -1, -1, -1) for sink in sinks)
    return torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)


def _all(
    q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor] | None, mask: Tensor | None
) -> Tensor:
    """Attend over sinks and all keys that a mask allows; without one, causally."""
    T, S = q.shape[2], 0 if sinks is None else sinks[0].shape[1]
    k, v = _after(sinks, k, v)
    if mask is not None:
        mask = mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    if S:  # a query of no interest for each sink keeps the rest causal
        q = F.pad(q, (0, 0, S, 0))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[:, :, -T:]


def _in_blocks(
    q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor] | None, mask: Tensor
) -> Tensor:
    """Attend with the queries after the head, whose blocks are the rows of one call.

    A block's first key is as far back from its first query as the window reaches.
    """
    B, T, block = len(q), q.shape[2], len(mask)
    S = 0 if sinks is None else sinks[0].shape[1]
    n = -(-T // block)
    if T % block:
        q, k, v = (F.pad(x, (0, 0, 0, n * block - T)) for x in (q, k, v))
    q = q.unflatten(2, (n, block)).transpose(1, 2).flatten(0, 1)  # (B * n, H, block, K)
    size = mask.shape[1] - S
    k, v = (x.unfold(2, size, block).transpose(1, 2).mT.flatten(0, 1) for x in (k, v))
    y = _all(q, k, v, sinks, mask)
    return y.unflatten(0, (B, n)).transpose(1, 2).flatten(2, 3)[:, :, :T]


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
