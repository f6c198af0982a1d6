"""Random draws of training for one batch, as values: the same loss can be computed twice.

B rows, N micro-turns, P audio_out positions of `size` numbers each, R noise draws of the flow head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.kernels import ops


@dataclass(frozen=True)
class FlowNoise:
    """Random draws of the flow head for n = B * N * P positions."""

    drop_condition: Tensor  # (n, 1) uniform; below the share: no backbone condition
    drop_previous: Tensor  # (n, 1) uniform; below the share: no previous patch
    time: Tensor  # (R * n,) uniform
    noise: Tensor  # (R * n, size) standard normal

    @classmethod
    def draw(cls, n: int, size: int, *, n_draws: int, device: torch.device) -> FlowNoise:
        """Draw from torch's global generator."""
        return cls(
            drop_condition=torch.rand(n, 1, device=device),
            drop_previous=torch.rand(n, 1, device=device),
            time=torch.rand(n_draws * n, device=device),
            noise=torch.randn(n_draws * n, size, device=device),
        )


@dataclass(frozen=True)
class Noise:
    """Random draws of a batch: for the own-voice history that the backbone reads, and the flow."""

    share: Tensor  # (B, N, P, 1) uniform
    history: Tensor  # (B, N, P, size) standard normal
    flow: FlowNoise

    @classmethod
    def draw(cls, shape: tuple[int, int, int, int], *, n_draws: int, device: torch.device) -> Noise:
        """Draw for patches of `shape` (B, N, P, size) from torch's global generator."""
        B, N, P, size = shape
        return cls(
            share=torch.rand(B, N, P, 1, device=device),
            history=torch.randn(B, N, P, size, device=device),
            flow=FlowNoise.draw(B * N * P, size, n_draws=n_draws, device=device),
        )

    @classmethod
    def draw_by_row(
        cls, seeds: list[int], shape: tuple[int, int, int], *, n_draws: int, device: torch.device
    ) -> Noise:
        """Draw row b from seeds[b] alone, for patches of `shape` (N, P, size).

        The noise of a micro-turn depends on nothing but its row's seed and its place: neither on
        the rest of the batch nor on N, so padding changes nothing, and a batch may be cut into
        micro-batches or spread over devices.
        """
        size = shape[-1]
        uniform, normal = ops.row_noise(
            seeds, shape, n_uniform=3 + n_draws, n_normal=1 + n_draws, device=device
        )
        flow = FlowNoise(
            drop_condition=uniform[1].reshape(-1, 1),
            drop_previous=uniform[2].reshape(-1, 1),
            time=uniform[3:].reshape(-1),
            noise=normal[1:].reshape(-1, size),
        )
        return cls(share=uniform[0].unsqueeze(-1), history=normal[0], flow=flow)
