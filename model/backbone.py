"""The transformer over stream positions: whole dialogues at once, or a few positions at a time.

B rows, T positions, D width, C cached positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels import ops
from microturn.kernels.ring_attention import Ring, query_rows
from microturn.kernels.window_attention import Window
from microturn.model.attention import (
    Attention,
    KeysValues,
    LayerCache,
    StepPlan,
    free_pairs,
    rope_angles,
)
from microturn.model.config import ModelConfig
from microturn.model.linear import RMSNorm
from microturn.model.moe import MixtureOfExperts, SwiGLU


@dataclass(frozen=True)
class BackboneState:
    """Caches of all layers and, per row, how many positions it has seen.

    A state is consumed by the call that it is passed to: the rings are written in place. Use
    `clone` to keep one, `copy_row_` to fork a session within one. With spare room (`init_state`)
    a row also goes back: lower `seen`, and later positions are masked until they are overwritten.
    """

    layers: list[LayerCache]
    seen: Tensor  # (B,) int64

    def clone(self) -> BackboneState:
        layers = [LayerCache(c.k.clone(), c.v.clone()) for c in self.layers]
        return BackboneState(layers, self.seen.clone())

    def reset_(self, row: int) -> None:
        """Forget everything of one row; stale keys are masked by `seen`."""
        self.seen[row] = 0

    def copy_row_(self, source: int, target: int) -> None:
        """Copy row `source` over row `target`."""
        for cache in self.layers:
            cache.k[target] = cache.k[source]
            cache.v[target] = cache.v[source]
        self.seen[target] = self.seen[source]


@dataclass(frozen=True)
class Past:
    """What the next window of a dialogue may read of those before; without gradients."""

    layers: list[KeysValues] = field(default_factory=list)  # keys are rotated already
    seen: int = 0  # positions before


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a dense layer, experts, or neither."""

    def __init__(self, cfg: ModelConfig, layer: int, *, reach: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(cfg.d_model)
        self.attention = Attention(cfg, reach)
        self.ff: SwiGLU | MixtureOfExperts | None = None
        if not cfg.has_ff(layer):
            return
        self.ff_norm = RMSNorm(cfg.d_model)
        if cfg.has_experts(layer):
            self.ff = MixtureOfExperts(cfg.d_model, cfg.moe)
        else:
            self.ff = SwiGLU(cfg.d_model, cfg.d_ff)

    def init_weights(self, residual_scale: float) -> None:
        """Draw all weights; `residual_scale` scales the layers that add to the residual stream."""
        self.attention.init_weights(residual_scale)
        if self.ff is not None:
            self.ff.init_weights(residual_scale)

    def forward(
        self,
        x: Tensor,
        window: Window,
        cos: Tensor,
        sin: Tensor,
        real: Tensor | None = None,
        earlier: KeysValues | None = None,
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), window, cos, sin, earlier)
        if self.ff is None:
            return x
        y = self.ff_norm(x)
        return x + (self.ff(y, real) if isinstance(self.ff, MixtureOfExperts) else self.ff(y))

    def step_(self, x: Tensor, plans: list[StepPlan], cache: LayerCache) -> Tensor:
        y = self.attention.step_(self.attention_norm(x), plans, cache)
        if self.ff is None:
            return x + y
        x, y = ops.add_norm(x, y, self.ff_norm.weight)
        return x + (self.ff.infer(y) if isinstance(self.ff, MixtureOfExperts) else self.ff(y))


class Backbone(nn.Module):
    """All blocks; layers differ in how far they reach back and in their feed-forward layer."""

    def __init__(self, cfg: ModelConfig, n_positions: int) -> None:
        super().__init__()
        self.cfg, self.n_positions = cfg, n_positions
        self.norm_in = RMSNorm(cfg.d_model)
        self.blocks = nn.ModuleList(
            Block(cfg, layer, reach=n_positions * cfg.reach(layer)) for layer in range(cfg.n_layers)
        )
        self.norm_out = RMSNorm(cfg.d_model)

    def init_weights(self) -> None:
        """Draw all weights; all layers together add about as much to the stream as enters it."""
        for block in self._all_blocks():
            block.init_weights((2 * self.cfg.n_layers) ** -0.5)

    def _all_blocks(self) -> Iterator[Block]:
        """`self.blocks` with the type that ModuleList forgets."""
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def routers(self) -> dict[str, MixtureOfExperts]:
        """Return the mixtures of experts by the name of their block, `block 1` after the first."""
        blocks = enumerate(self._all_blocks())
        return {f"block {i}": b.ff for i, b in blocks if isinstance(b.ff, MixtureOfExperts)}

    @property
    def reaches(self) -> list[int]:
        """Distances that layers reach back, in positions; each once, sorted."""
        return sorted({block.attention.reach for block in self._all_blocks()})

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute rotary cosine and sine (..., T, K/2) of positions (..., T)."""
        cfg = self.cfg
        return rope_angles(positions, cfg.head_dim, cfg.rope_base, free_pairs(cfg))

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Compute hidden states of whole dialogues, (B, T, D) to (B, T, D).

        real (B, T): 1 for positions that are no padding, else 0; None: all are. Attention needs
        no such mask: padding comes last, and nothing looks ahead.
        """
        return self.forward_window(x, real, None)[0]

    def forward_window(
        self, x: Tensor, real: Tensor | None, past: Past | None
    ) -> tuple[Tensor, Past]:
        """Compute `forward` of the next T positions of dialogues.

        past: what the window before returned; no gradient flows into it.
        """
        T, cfg, past = x.shape[1], self.cfg, past or Past()
        windows = {
            reach: Window.plan(
                T,
                reach,
                n_sinks=cfg.n_sinks,
                head_dim=cfg.head_dim,
                device=x.device,
                n_earlier=min(past.seen, reach - 1),
            )
            for reach in self.reaches
        }
        cos, sin = self.angles(torch.arange(past.seen, past.seen + T, device=x.device))
        x = self.norm_in(x)
        layers: list[KeysValues] = []
        for i, block in enumerate(self._all_blocks()):
            earlier = past.layers[i] if past.layers else None
            x = block(x, windows[block.attention.reach], cos, sin, real, earlier)
            assert block.attention.last is not None
            layers.append(block.attention.last)
            block.attention.last = None
        return self.norm_out(x), Past(layers, past.seen + T)

    def init_state(
        self, rows: int, *, device: torch.device, dtype: torch.dtype, spare: int = 0
    ) -> BackboneState:
        """Make rings as long as each layer's reach, the micro-turn being written, and `spare` more.

        A row may go back up to `spare` micro-turns: set its `seen` to the earlier value. Nothing
        within reach of that position has been overwritten, and later positions are not read.
        """
        if spare < 0:
            raise ValueError(f"spare={spare} must be 0 or more micro-turns")
        layers = [
            block.attention.init_cache(
                rows,
                block.attention.reach + (1 + spare) * self.n_positions,
                device=device,
                dtype=dtype,
            )
            for block in self._all_blocks()
        ]
        return BackboneState(layers, torch.zeros(rows, dtype=torch.int64, device=device))

    def plan(self, state: BackboneState, T: int) -> MicroTurnPlan:
        """Plan the next T <= n_positions positions of all rows."""
        seen = state.seen
        positions = seen[:, None] + torch.arange(T, device=seen.device)  # (B, T)
        last = positions[:, -1:]  # (B, 1)
        rings: dict[int, tuple[Tensor, Tensor]] = {}
        if ops.has_kernels(seen):  # they find slots and masks by themselves
            return MicroTurnPlan(self, positions, self.angles(positions), rings)
        for block, cache in zip(self._all_blocks(), state.layers, strict=True):
            reach, capacity = block.attention.reach, cache.k.shape[2] - self.cfg.n_sinks
            if reach in rings:
                continue
            slots = torch.arange(capacity, device=seen.device)
            # The newest position that each ring slot holds once this call has written its own.
            # One that the row has gone back from is taken for the older one that it replaced,
            # which is out of reach: a ring is at least that much longer.
            held = last - (last - slots) % capacity  # (B, C)
            distance = positions[:, :, None] - held[:, None, :]  # (B, T, C)
            mask = (distance >= 0) & (distance < reach) & (held >= 0)[:, None, :]
            rings[reach] = positions % capacity, F.pad(mask, (0, self.cfg.n_sinks), value=True)
        return MicroTurnPlan(self, positions, self.angles(positions), rings)

    def step(self, x: Tensor, state: BackboneState) -> tuple[Tensor, BackboneState]:
        """Compute any number of further positions of every row, (B, T, D); consumes `state`.

        On a CPU in fp32 with one thread a position's bits depend neither on how positions are
        spread over calls nor on the other rows.
        """
        plans = []
        for part in x.split(self.n_positions, dim=1):
            size = part.shape[1]
            plans.append(self.plan(state, size).part(0, size))
            state = replace(state, seen=state.seen + size)
        return self.step_planned_(x, state.layers, plans), state

    def step_planned_(self, x: Tensor, layers: list[LayerCache], plans: list[StepPlan]) -> Tensor:
        """Compute the positions of `plans`, (B, T, D); writes into the rings."""
        x = self.norm_in(x)
        for block, cache in zip(self._all_blocks(), layers, strict=True):
            x = block.step_(x, plans, cache)
        return self.norm_out(x)


@dataclass(frozen=True)
class MicroTurnPlan:
    """Positions of up to one micro-turn that is computed in several parts."""

    backbone: Backbone
    positions: Tensor  # (B, T)
    angles: tuple[Tensor, Tensor]  # (B, T, K/2)
    rings: dict[int, tuple[Tensor, Tensor]]  # slots (B, T) and masks (B, T, C + S) by reach

    def part(self, start: int, size: int) -> StepPlan:
        """Plan `size` positions from `start` on; later ones are masked."""
        T, cfg = slice(start, start + size), self.backbone.cfg
        rings = {}
        for reach, (slots, mask) in self.rings.items():
            rows = mask[:, None, T].expand(-1, cfg.n_heads // cfg.n_kv_heads, -1, -1)
            rings[reach] = Ring(slots[:, T], query_rows(rows, 1))
        cos, sin = (angle[:, None, T] for angle in self.angles)
        return StepPlan(self.positions[:, T], cos, sin, rings)
