"""Attention of whole dialogues over a window, beside the same under a mask of all pairs.

B dialogues of T positions, H query heads, G key/value heads, K head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.evaluation.bench.kernels_measure import relative_error, seconds_per_call
from microturn.kernels.window_attention import Window, window_attention
from microturn.model.config import ModelConfig

MICRO_TURNS: Final = (300, 3_000)  # a dialogue of a minute, and of ten
_REPEATS: Final = 5


def measure_windows(
    cfg: ModelConfig, n_positions: int, device: torch.device, micro_turns: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """Milliseconds of forward and backward pass by length, and how far the outputs are apart.

    A layer that reaches back `cfg.window` micro-turns, without sinks, in bf16 on a GPU.
    """
    return {str(n): _measure(cfg, n_positions, device, n) for n in micro_turns}


def _measure(cfg: ModelConfig, n_positions: int, device: torch.device, n: int) -> dict[str, float]:
    T, reach, K = n * n_positions, cfg.window * n_positions, cfg.head_dim
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    q, k, v = (
        torch.randn(1, heads, T, K, device=device, dtype=dtype, requires_grad=True)
        for heads in (cfg.n_heads, cfg.n_kv_heads, cfg.n_kv_heads)
    )
    window = Window.plan(T, reach, n_sinks=0, head_dim=K, device=device)
    mask = _mask_of_all_pairs(T, reach, device, dtype)
    grad, repeats = torch.randn_like(q), cfg.n_heads // cfg.n_kv_heads

    def in_window() -> Tensor:
        return window_attention(q, k, v, None, window)

    def under_mask() -> Tensor:  # heads repeated: the kernel that takes a mask shares no keys
        keys, values = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

    with torch.no_grad():
        error = relative_error(in_window(), under_mask())
    if not error < 2e-2:
        raise ValueError(f"{n} micro-turns: outputs differ by {error:.1e}")

    def milliseconds(attention: Callable[[], Tensor]) -> float:
        def both() -> None:
            attention().backward(grad)

        return 1e3 * seconds_per_call([both], repeats=_REPEATS, graph=False)

    return {
        "window_ms": milliseconds(in_window),
        "all_pairs_ms": milliseconds(under_mask),
        "error": error,
    }


def _mask_of_all_pairs(T: int, reach: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Scores to add, (T, T), made in parts: the distances of all would be four times as large."""
    mask = torch.empty(T, T, device=device, dtype=dtype)
    keys = torch.arange(T, device=device)
    for first in range(0, T, 1024):
        rows = mask[first : first + 1024]
        distance = torch.arange(first, first + len(rows), device=device)[:, None] - keys
        unread = (distance < 0) | (distance >= reach)
        rows.zero_().masked_fill_(unread, -torch.inf)
    return mask
