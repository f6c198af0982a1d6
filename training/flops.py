"""FLOPs of a training step, and the FLOP/s of this machine in matrix products."""

from __future__ import annotations

import time

import torch

from microturn.model.model import InteractionModel
from microturn.model.plan.flops import forward_flops


def flops_per_micro_turn(model: InteractionModel, n: int) -> float:
    """Count forward and backward, averaged over dialogues of n micro-turns."""
    parts = forward_flops(model.cfg, model.layout, model.vocab_size, n, training=True)
    return 3 * sum(parts.values())


@torch.no_grad()
def matmul_rate(device: torch.device, dtype: torch.dtype, *, seconds: float = 0.2) -> float:
    """Measure FLOP/s of large square products, the best of those that fit in `seconds`."""
    size = 8192 if device.type == "cuda" else 1024 if dtype == torch.float32 else 512
    a = torch.randn(size, size, device=device, dtype=dtype)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        before = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - before)
    return 2 * size**3 / best
