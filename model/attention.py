"""Grouped-query attention over stream positions: rotary, QK-normed, with a sliding window.

B rows, T positions of this call, C positions in the ring, S sinks, H query heads, G key/value
heads, K head size. Positions are counted from the start of a row's session.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels import ops
from microturn.kernels.batch_invariant import MIN_OUTPUTS, padded
from microturn.kernels.ring_attention import Ring, project
from microturn.kernels.window_attention import Window, window_attention
from microturn.model.config import ModelConfig
from microturn.model.linear import BatchInvariantLinear
from microturn.model.param_groups import ParamGroup

KeysValues = tuple[Tensor, Tensor]


@dataclass
class LayerCache:
    """Keys and values of one layer: a ring over positions, then the sinks, which never move."""

    k: Tensor  # (B, G, C + S, K)
    v: Tensor  # (B, G, C + S, K)


@dataclass(frozen=True)
class StepPlan:
    """Positions, angles and a ring for each reach, shared by all layers of one call."""

    positions: Tensor  # (B, T) the new ones
    cos: Tensor  # (B, 1, T, K/2)
    sin: Tensor
    rings: dict[int, Ring]  # by reach in positions

    @property
    def size(self) -> int:
        return self.positions.shape[1]


def free_pairs(cfg: ModelConfig) -> int:
    """Count the rotary pairs of a head that do not turn: the slowest quarter, none without sinks.

    A sink has no position, so its key lives where queries do not turn either. That slow pairs may
    as well stand still is a result of "Round and Round We Go!" (arXiv 2410.06205).
    """
    return cfg.head_dim // 8 if cfg.n_sinks else 0


def rope_angles(
    positions: Tensor, head_dim: int, base: float, free: int = 0
) -> tuple[Tensor, Tensor]:
    """Compute cosine and sine (..., T, K/2) of positions (..., T); the last `free` pairs rest."""
    index = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float64)
    rates = base ** (-index / head_dim)
    if free:
        rates[-free:] = 0.0
    angles = positions.double().unsqueeze(-1) * rates
    return angles.cos().float(), angles.sin().float()


class Attention(nn.Module):
    """Attention of one layer over `reach` positions and, if there are any, over its sinks.

    A sink is a learned key and value that every query may read: where attention goes when there
    is nothing to attend to, so that it needs no positions that slide out of the window (the
    learnable sink of StreamingLLM, arXiv 2309.17453; explicit attention biases, arXiv 2402.17762).
    """

    def __init__(self, cfg: ModelConfig, reach: int) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = cfg.n_heads, cfg.n_kv_heads, cfg.head_dim
        self.reach, self.n_sinks, self.free = reach, cfg.n_sinks, free_pairs(cfg)
        self.last: KeysValues | None = None  # of the last call of `forward`
        widths = (cfg.n_heads + 2 * cfg.n_kv_heads) * cfg.head_dim
        self.qkv = BatchInvariantLinear(cfg.d_model, widths, bias=False)
        self.out = BatchInvariantLinear(cfg.d_model, cfg.d_model, bias=False)
        self.q_norm = nn.RMSNorm(cfg.head_dim)
        self.k_norm = nn.RMSNorm(cfg.head_dim)
        if cfg.n_sinks:
            shape = (cfg.n_kv_heads, cfg.n_sinks)
            self.sink_keys = nn.Parameter(torch.empty(*shape, 2 * self.free))
            self.sink_values = nn.Parameter(torch.empty(*shape, cfg.head_dim))

    def init_weights(self, residual_scale: float) -> None:
        """Draw all weights; `residual_scale` scales the output to the residual stream."""
        if self.n_sinks:
            nn.init.normal_(self.sink_keys)  # as long as normed keys
            nn.init.normal_(self.sink_values, std=0.0)
        self.qkv.init_weights()
        self.out.init_weights(residual_scale)

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        groups = dict.fromkeys([self.qkv.weight, self.out.weight], ParamGroup.MATRIX)
        if self.n_sinks:
            groups |= dict.fromkeys([self.sink_keys, self.sink_values], ParamGroup.VECTOR)
        return groups

    def sinks(self) -> tuple[Tensor, Tensor]:
        """Compute keys and values (G, S, K) of the sinks; keys are zero wherever queries turn."""
        first, second = self.sink_keys.chunk(2, dim=-1)
        turning = (self.head_dim // 2 - self.free, 0)
        return torch.cat([F.pad(first, turning), F.pad(second, turning)], dim=-1), self.sink_values

    def init_cache(
        self, rows: int, slots: int, *, device: torch.device, dtype: torch.dtype
    ) -> LayerCache:
        """Make an empty ring of at least so many slots, with the current sinks."""
        total = padded(slots + self.n_sinks, MIN_OUTPUTS)  # scores are products with that many
        slots = total - self.n_sinks
        shape = (rows, self.n_kv_heads, total, self.head_dim)
        cache = LayerCache(
            torch.zeros(shape, device=device, dtype=dtype),
            torch.zeros(shape, device=device, dtype=dtype),
        )
        if self.n_sinks:
            with torch.no_grad():
                for side, sink in zip((cache.k, cache.v), self.sinks(), strict=True):
                    side[:, :, slots:] = sink
        return cache

    def forward(
        self, x: Tensor, window: Window, cos: Tensor, sin: Tensor, earlier: KeysValues | None = None
    ) -> Tensor:
        """Attend over whole dialogues, x (B, T, D); `window` is that of `reach`.

        earlier: keys and values (B, G, E, K) of the positions before; afterwards `last` holds
        those that the next positions may read.
        """
        q, k, v = project(self.qkv(x), self._norm_weights, (cos, sin), self.n_kv_heads)
        if earlier is not None:
            k, v = (torch.cat(pair, dim=2) for pair in zip(earlier, (k, v), strict=True))
        y = window_attention(q, k, v, self.sinks() if self.n_sinks else None, window)
        first = max(0, k.shape[2] - self.reach + 1)
        self.last = k[:, :, first:].detach(), v[:, :, first:].detach()
        return self.out(y.transpose(1, 2).flatten(2))

    def step_(self, x: Tensor, plans: list[StepPlan], cache: LayerCache) -> Tensor:
        """Compute new positions of every row, x (B, T, D); writes keys and values into `cache`.

        Each plan covers at most one micro-turn: the ring has that much room beside the window.
        All other arithmetic is done at once.
        """
        parts = self.qkv(x).split([plan.size for plan in plans], dim=1)
        y = [self._attend(part, plan, cache) for part, plan in zip(parts, plans, strict=True)]
        return self.out(torch.cat(y, dim=1) if len(y) > 1 else y[0])

    def _attend(self, qkv: Tensor, plan: StepPlan, cache: LayerCache) -> Tensor:
        return ops.ring_attention(
            qkv,
            self._norm_weights,
            (plan.cos, plan.sin),
            plan.positions,
            (cache.k, cache.v),
            ring=plan.rings.get(self.reach),
            window=self.reach,
            n_sinks=self.n_sinks,
        )

    @property
    def _norm_weights(self) -> tuple[Tensor, Tensor]:
        return self.q_norm.weight, self.k_norm.weight
