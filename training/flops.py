"""How much arithmetic a training step is, and how fast this machine multiplies matrices."""

from __future__ import annotations

import time

import torch

from microturn.model.model import InteractionModel


def flops_per_micro_turn(model: InteractionModel, n: int) -> float:
    """Of forward and backward, on average over dialogues of n micro-turns: matrices and attention.

    6 per active weight and position (2 forward, 4 backward); attention counts what its mask
    leaves; norms, tables and the router's choice count nothing.
    """
    cfg, layout = model.cfg, model.layout
    S, D = layout.n_positions, cfg.d_model
    head = (cfg.n_heads + 2 * cfg.n_kv_heads) * cfg.head_dim * D + D * D
    moe = cfg.moe
    routed = 3 * D * moe.d_expert * moe.n_active + D * (moe.n_experts + moe.n_shared)
    dense = 3 * D * cfg.d_ff
    n_dense = cfg.n_layers if not moe.n_experts else 1
    weights = cfg.n_layers * head + n_dense * dense + (cfg.n_layers - n_dense) * routed
    T, window = n * S, cfg.window * S
    reach = sum(min(t + 1, window) for t in range(T)) / T
    attention = 4 * reach * D * cfg.n_layers * 3  # scores and mixing, forward and backward
    words = layout.heard_positions + layout.say_positions
    flow = sum(p.numel() for p in model.flow.parameters() if p.dim() == 2)
    rest = 6 * words * model.vocab_size * D
    rest += 6 * layout.audio_out_positions * (layout.patch_dim * D + cfg.flow.draws * flow)
    return S * (6 * weights + attention) + rest


@torch.no_grad()
def matmul_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """FLOP/s of large square products on this device, the best of those that fit in `seconds`."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        before = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - before)
    return 2 * size**3 / best
