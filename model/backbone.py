"""The transformer over stream positions: whole dialogues at once, or a few positions at a time.

B rows, T positions, D width, C cached positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from microturn.kernels.dispatch import has_kernels
from microturn.model.attention import Attention, LayerCache, StepPlan, rope_angles
from microturn.model.config import ModelConfig
from microturn.model.moe import MixtureOfExperts, SwiGLU


@dataclass(frozen=True)
class BackboneState:
    """Caches of all layers and, per row, how many positions it has seen.

    A state is consumed by the call that it is passed to: the rings are written in place. Use
    `clone` to keep one (fork, rewind).
    """

    layers: list[LayerCache]
    seen: Tensor  # (B,) int64

    def clone(self) -> BackboneState:
        layers = [LayerCache(c.k.clone(), c.v.clone()) for c in self.layers]
        return BackboneState(layers, self.seen.clone())

    def reset_(self, row: int) -> None:
        """Forget everything of one row; stale keys are masked by `seen`."""
        self.seen[row] = 0


class Block(nn.Module):
    def __init__(self, cfg: ModelConfig, *, dense: bool) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(cfg.d_model)
        self.attention = Attention(cfg)
        self.ff_norm = nn.RMSNorm(cfg.d_model)
        self.ff: SwiGLU | MixtureOfExperts
        self.ff = SwiGLU(cfg.d_model, cfg.d_ff) if dense else MixtureOfExperts(cfg.d_model, cfg.moe)

    def forward(self, x: Tensor, mask: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask, cos, sin)
        return x + self.ff(self.ff_norm(x))

    def step_(self, x: Tensor, plan: StepPlan, cache: LayerCache) -> Tensor:
        y = self.attention.step_(self.attention_norm(x), plan, cache)
        if has_kernels(x):
            from microturn.kernels.pointwise import add_norm

            x, y = add_norm(x, y, self.ff_norm.weight, torch.finfo(x.dtype).eps)
            return x + self.ff(y)
        x = x + y
        return x + self.ff(self.ff_norm(x))


class Backbone(nn.Module):
    def __init__(self, cfg: ModelConfig, n_positions: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.window = cfg.window * n_positions  # in positions
        self.capacity = self.window + n_positions  # a step may write up to one micro-turn
        self.norm_in = nn.RMSNorm(cfg.d_model)
        self.blocks = nn.ModuleList(
            Block(cfg, dense=layer == 0 or cfg.moe.n_experts == 0) for layer in range(cfg.n_layers)
        )
        self.norm_out = nn.RMSNorm(cfg.d_model)
        for block in self._all_blocks():
            block.attention.window = self.window

    def _all_blocks(self) -> Iterator[Block]:
        """`self.blocks` with the type that ModuleList forgets."""
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states of whole dialogues, (B, T, D) to (B, T, D)."""
        T = x.shape[1]
        positions = torch.arange(T, device=x.device)
        mask = None  # causal, and nothing is beyond the window
        if self.window < T:
            distance = positions[:, None] - positions[None, :]
            mask = (distance >= 0) & (distance < self.window)  # (T, T)
        cos, sin = rope_angles(positions, self.cfg.head_dim, self.cfg.rope_base)
        x = self.norm_in(x)
        for block in self._all_blocks():
            x = block(x, mask, cos, sin)
        return self.norm_out(x)

    def init_state(self, rows: int, *, device: torch.device, dtype: torch.dtype) -> BackboneState:
        shape = (rows, self.cfg.n_kv_heads, self.capacity, self.cfg.head_dim)
        layers = [
            LayerCache(
                torch.zeros(shape, device=device, dtype=dtype),
                torch.zeros(shape, device=device, dtype=dtype),
            )
            for _ in self.blocks
        ]
        return BackboneState(layers, torch.zeros(rows, dtype=torch.int64, device=device))

    def plan(self, seen: Tensor, T: int) -> StepPlan:
        """The next T <= n_positions positions of rows that have seen so many (B,)."""
        positions = seen[:, None] + torch.arange(T, device=seen.device)  # (B, T)
        slots = torch.arange(self.capacity, device=seen.device)
        last = positions[:, -1:]  # (B, 1)
        # The newest position that each ring slot holds once this call has written its own.
        held = last - (last - slots) % self.capacity  # (B, C)
        distance = positions[:, :, None] - held[:, None, :]  # (B, T, C)
        mask = (distance >= 0) & (distance < self.window) & (held >= 0)[:, None, :]
        cos, sin = rope_angles(positions, self.cfg.head_dim, self.cfg.rope_base)
        slots = positions % self.capacity
        return StepPlan(positions, slots, mask[:, None], cos[:, None], sin[:, None])

    def step(self, x: Tensor, state: BackboneState) -> tuple[Tensor, BackboneState]:
        """The next T <= n_positions positions of every row, (B, T, D); consumes `state`."""
        y = self.step_planned_(x, state.layers, self.plan(state.seen, x.shape[1]))
        return y, replace(state, seen=state.seen + x.shape[1])

    def step_planned_(self, x: Tensor, layers: list[LayerCache], plan: StepPlan) -> Tensor:
        """The positions of `plan`, (B, T, D); writes into the rings."""
        x = self.norm_in(x)
        for block, cache in zip(self._all_blocks(), layers, strict=True):
            x = block.step_(x, plan, cache)
        return self.norm_out(x)
