"""Grouped-query attention over stream positions: rotary, QK-normed, with a sliding window.

B rows, T positions of this call, C positions in the cache, H query heads, G key/value heads,
K head size. Positions are counted from the start of a row's session.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels.dispatch import has_kernels
from microturn.model.config import ModelConfig


@dataclass
class LayerCache:
    """Keys and values of one layer in a ring over positions."""

    k: Tensor  # (B, G, C, K)
    v: Tensor  # (B, G, C, K)


@dataclass(frozen=True)
class StepPlan:
    """What all layers of one call share: where rows write, what they may read, and angles."""

    positions: Tensor  # (B, T) the new ones
    slots: Tensor  # (B, T) ring slots that they take
    mask: Tensor  # (B, 1, T, C) True where attention is allowed
    cos: Tensor  # (B, 1, T, K/2)
    sin: Tensor

    def part(self, start: int, size: int) -> StepPlan:
        """The plan of `size` positions from `start` on; what is written later is masked here."""
        T = slice(start, start + size)
        return StepPlan(
            self.positions[:, T],
            self.slots[:, T],
            self.mask[:, :, T],
            self.cos[:, :, T],
            self.sin[:, :, T],
        )


def rope_angles(positions: Tensor, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine (..., T, K/2) of integer positions (..., T)."""
    index = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float64)
    angles = positions.double().unsqueeze(-1) * base ** (-index / head_dim)
    return angles.cos().float(), angles.sin().float()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (first half, second half) of (..., T, K)."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Attention(nn.Module):
    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = cfg.n_heads, cfg.n_kv_heads, cfg.head_dim
        self.window = 0  # in positions; set by the backbone, which knows the layout
        widths = (cfg.n_heads + 2 * cfg.n_kv_heads) * cfg.head_dim
        self.qkv = nn.Linear(cfg.d_model, widths, bias=False)
        self.out = nn.Linear(cfg.d_model, cfg.d_model, bias=False)
        self.q_norm = nn.RMSNorm(cfg.head_dim)
        self.k_norm = nn.RMSNorm(cfg.head_dim)

    def _project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = x.shape
        H, G, K = self.n_heads, self.n_kv_heads, self.head_dim
        q, k, v = self.qkv(x).split([H * K, G * K, G * K], dim=-1)
        q = self.q_norm(q.view(B, T, H, K)).transpose(1, 2)
        k = self.k_norm(k.view(B, T, G, K)).transpose(1, 2)
        v = v.view(B, T, G, K).transpose(1, 2)
        return apply_rope(q, cos, sin), apply_rope(k, cos, sin), v

    def forward(self, x: Tensor, mask: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
        """Whole dialogues: x (B, T, D), mask (T, T) True where allowed, None: causal."""
        q, k, v = self._project(x, cos, sin)
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        elif x.is_cuda:  # no fused kernel takes a mask and fewer keys than queries
            k, v = (t.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1) for t in (k, v))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return self.out(y.transpose(1, 2).flatten(2))

    def step_(self, x: Tensor, plan: StepPlan, cache: LayerCache) -> Tensor:
        """T new positions per row, x (B, T, D); writes their keys and values into `cache`."""
        if has_kernels(x):
            return self._step_kernels(x, plan, cache)
        q, k, v = self._project(x, plan.cos, plan.sin)
        index = plan.slots[:, None, :, None].expand(k.shape)
        cache.k.scatter_(2, index, k.to(cache.k.dtype))
        cache.v.scatter_(2, index, v.to(cache.v.dtype))
        y = F.scaled_dot_product_attention(
            q, cache.k, cache.v, attn_mask=plan.mask, enable_gqa=True
        )
        return self.out(y.transpose(1, 2).flatten(2))

    def _step_kernels(self, x: Tensor, plan: StepPlan, cache: LayerCache) -> Tensor:
        from microturn.kernels.ring_attention import ring_attention

        eps = torch.finfo(x.dtype).eps  # that of nn.RMSNorm
        y = ring_attention(
            self.qkv(x),
            (self.q_norm.weight, self.k_norm.weight),
            (plan.cos[:, 0], plan.sin[:, 0]),
            plan.positions,
            (cache.k, cache.v),
            self.window,
            eps,
        )
        return self.out(y)
