"""Attention of a few new positions over a ring of keys and values: the definition and PyTorch.

Behind the ring a cache holds sinks, keys and values that every query reads.

B rows, T new positions, H query heads, G key/value heads, R = H/G, K head size, C ring slots,
S sinks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.kernels.batch_invariant import MIN_ROWS, padded
from microturn.kernels.rms_norm import rms_norm

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Ring:
    """The slots that a call writes, and those that each query may read."""

    slots: Tensor  # (B, T) ring slots of the new positions
    mask: Tensor  # (B, 1, rows, C + S) True where attention is allowed; rows as in `query_rows`


def attention_reference(
    qkv: Tensor,
    weights: tuple[Tensor, Tensor],
    angles: tuple[Tensor, Tensor],
    positions: Tensor,
    cache: tuple[Tensor, Tensor],
    window: int,
    eps: float,
    n_sinks: int = 0,
) -> Tensor:
    """The definition, row by row and head by head; writes into `cache`, gives (B, T, H * K)."""
    B, (_, G, C, K) = len(qkv), cache[0].shape
    C -= n_sinks
    q, k, v = qkv.float().split([qkv.shape[-1] - 2 * G * K, G * K, G * K], dim=-1)
    out = torch.zeros_like(q)
    for b in range(B):
        slots = positions[b] % C
        for g in range(G):
            part = slice(g * K, (g + 1) * K)
            cache[0][b, g, slots] = _rotated(
                k[b, :, part], weights[1], angles[0][b], angles[1][b], eps
            ).to(cache[0].dtype)
            cache[1][b, g, slots] = v[b, :, part].to(cache[1].dtype)
        last = positions[b, -1]
        held = last - (last - torch.arange(C, device=qkv.device)) % C
        distance = positions[b][:, None] - held
        allowed = (distance >= 0) & (distance < window) & (held >= 0)
        allowed = F.pad(allowed, (0, n_sinks), value=True)
        H = q.shape[-1] // K
        for h in range(H):
            part, g = slice(h * K, (h + 1) * K), h // (H // G)
            query = _rotated(q[b, :, part], weights[0], angles[0][b], angles[1][b], eps)
            keys, values = cache[0][b, g].float(), cache[1][b, g].float()
            score = (query @ keys.T * K**-0.5).masked_fill(~allowed, -torch.inf)
            out[b, :, part] = score.softmax(-1) @ values.where(allowed.any(0)[:, None], 0.0)
    return out.to(qkv.dtype)


def _rotated(x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    x = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight.float()
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def query_rows(x: Tensor, n_kv_heads: int) -> Tensor:
    """(B, H, T, .) to (B, G, rows, .): queries that share keys, R * T of them, padded with 0.

    Blocks of a product then never have fewer than `MIN_ROWS` rows; see `batch_invariant`.
    """
    x = x.unflatten(1, (n_kv_heads, -1)).flatten(2, 3)
    return F.pad(x, (0, 0, 0, padded(x.shape[2], MIN_ROWS) - x.shape[2]))


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (first half, second half) of (..., T, K)."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def project(
    qkv: Tensor, weights: Pair, angles: Pair, n_kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (B, T, (H + 2G) * K) to normed, rotated queries and keys, and values, (B, ., T, K).

    weights of the norms of queries and keys (K,); angles: cosine and sine (..., T, K/2).
    """
    G, K = n_kv_heads, len(weights[0])
    H = qkv.shape[-1] // K - 2 * G
    qk, v = qkv.unflatten(-1, (-1, K)).split([H + G, G], dim=2)
    scales = [weight.expand(n, K) for weight, n in zip(weights, (H, G), strict=True)]
    qk = rms_norm(qk, torch.cat(scales)).transpose(1, 2)
    q, k = apply_rope(qk, *angles).split([H, G], dim=1)
    return q, k, v.transpose(1, 2)


def ring_attention_torch(
    qkv: Tensor, weights: Pair, angles: Pair, cache: Pair, ring: Ring
) -> Tensor:
    """qkv (B, T, (H + 2G) * K) of new positions to (B, T, H * K); writes into `cache`.

    cache: keys and values (B, G, C + S, K).
    """
    keys, values = cache
    G, T = keys.shape[1], qkv.shape[1]
    q, k, v = project(qkv, weights, angles, G)
    R = q.shape[1] // G
    index = ring.slots[:, None, :, None].expand(k.shape)
    keys.scatter_(2, index, k.to(keys.dtype))
    values.scatter_(2, index, v.to(values.dtype))
    y = F.scaled_dot_product_attention(query_rows(q, G), keys, values, attn_mask=ring.mask)
    return y[:, :, : R * T].reshape(len(y), G * R, T, -1).transpose(1, 2).flatten(2)
