"""What a session engine is compared with: the same weights, without a session behind them.

Both peers run the whole micro-turn as ours does (front end, heads, flow head, vocoder) and differ
in the backbone alone, which attends to everything since the dialogue began:

- `growing`: keys and values are kept and grow by concatenation, position after position, as the
  dynamic cache of Hugging Face transformers does.
- `reprefill`: nothing is kept between requests; every micro-turn reads the whole dialogue again
  in one call and goes on from there, as a server without sessions has to.

A dialogue of any length is set up at once, with random keys and values (or vectors) in the place
of those of a dialogue, so that long ones can be timed without being held.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.kernels.ring_attention import apply_rope
from microturn.model.attention import Attention, rope_angles
from microturn.model.backbone import Backbone, BackboneState, Block
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.moe import MixtureOfExperts

Peer = Literal["growing", "reprefill"]
PEERS: Final[tuple[Peer, ...]] = ("growing", "reprefill")
_LEVEL: Final = 0.05


class UnboundedBackbone(nn.Module):
    """The blocks of a backbone over a cache that grows; one row, positions since the beginning."""

    def __init__(self, backbone: Backbone, *, again: bool) -> None:
        super().__init__()
        self.cfg, self.n_positions = backbone.cfg, backbone.n_positions
        self.norm_in, self.norm_out = backbone.norm_in, backbone.norm_out
        self.blocks = backbone.blocks
        self._again = again
        self._cache: list[tuple[Tensor, Tensor]] = []
        self._read: list[Tensor] = []  # every vector so far
        self.set_up(0)

    def set_up(self, n_micro_turns: int) -> None:
        """As if a dialogue of so many micro-turns had been held."""
        T, cfg = n_micro_turns * self.n_positions, self.cfg
        generator = torch.Generator().manual_seed(0)
        shape = (1, cfg.n_kv_heads, T, cfg.head_dim)
        self._read = [torch.randn(1, T, cfg.d_model, generator=generator)]
        self._cache = [
            (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
            for _ in self.blocks
        ]

    # --- what `InteractionModel.step` needs of a backbone ----------------------------------------
    def init_state(self, rows: int, *, spare: int = 0, **_: Any) -> BackboneState:
        assert rows == 1
        assert not spare
        return BackboneState([], torch.zeros(1, dtype=torch.int64))

    def plan(self, state: BackboneState, T: int) -> UnboundedBackbone:
        """A micro-turn begins."""
        if self._again:
            everything = torch.cat(self._read, dim=1)
            self._read = [everything]
            self._cache = [(k[:, :, :0], v[:, :, :0]) for k, v in self._cache]
            if everything.shape[1]:
                self._run(everything)
        return self

    def part(self, start: int, size: int) -> None:
        """Positions follow from what is in the cache."""

    def step_planned_(self, x: Tensor, layers: object, plans: object) -> Tensor:
        if self._again:
            self._read.append(x)
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        past, T = self._cache[0][0].shape[2], x.shape[1]
        positions = torch.arange(past, past + T)[None]
        cos, sin = (
            angle[:, None]
            for angle in rope_angles(positions, self.cfg.head_dim, self.cfg.rope_base)
        )
        mask = None
        if past and T > 1:
            mask = torch.ones(T, past + T, dtype=torch.bool).tril(past)
        x = self.norm_in(x)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            y, self._cache[layer] = _attend(
                block.attention, block.attention_norm(x), self._cache[layer], cos, sin, mask
            )
            x = x + y
            if isinstance(block.ff, MixtureOfExperts):
                x = x + block.ff.infer(block.ff_norm(x))
            elif block.ff is not None:
                x = x + block.ff(block.ff_norm(x))
        return self.norm_out(x)


def _attend(
    attention: Attention,
    x: Tensor,
    cache: tuple[Tensor, Tensor],
    cos: Tensor,
    sin: Tensor,
    mask: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    B, T, _ = x.shape
    H, G, K = attention.n_heads, attention.n_kv_heads, attention.head_dim
    q, k, v = attention.qkv(x).split([H * K, G * K, G * K], dim=-1)
    q = apply_rope(attention.q_norm(q.view(B, T, H, K)).transpose(1, 2), cos, sin)
    k = apply_rope(attention.k_norm(k.view(B, T, G, K)).transpose(1, 2), cos, sin)
    v = v.view(B, T, G, K).transpose(1, 2)
    k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None and T > 1, enable_gqa=True
    )
    return attention.out(y.transpose(1, 2).flatten(2)), (k, v)


def without_session(checkpoint: LoadedCheckpoint, peer: Peer) -> RowBatch:
    """One row of the same model on the backbone of a peer."""
    model = copy.copy(checkpoint.model)
    model._modules = dict(checkpoint.model._modules)
    model.backbone = UnboundedBackbone(  # type: ignore[assignment]
        checkpoint.model.backbone, again=peer == "reprefill"
    )
    return RowBatch(LoadedCheckpoint(model, checkpoint.layout, checkpoint.tokenizer), 1)


@dataclass(frozen=True)
class PeerTimes:
    """Median milliseconds of a micro-turn by length of the dialogue so far, in micro-turns."""

    ms: dict[int, float]

    def at(self, n: int, degree: int) -> float:
        """The polynomial through the longest measured lengths, at n micro-turns."""
        lengths = sorted(self.ms)[-(degree + 1) :]
        fit = np.polyfit(lengths, [self.ms[length] for length in lengths], len(lengths) - 1)
        return float(np.polyval(fit, n))


def measure_peer(
    checkpoint: LoadedCheckpoint, peer: Peer, lengths: Sequence[int], *, seconds: float, bar: Any
) -> PeerTimes:
    """Time micro-turns at every length: three at least, more while they fit into `seconds`."""
    rng = np.random.default_rng(0)
    times = {}
    for length in lengths:
        batch = without_session(checkpoint, peer)
        backbone: Any = batch.model.backbone
        spent: list[float] = []
        while len(spent) < 3 or (sum(spent) < seconds and len(spent) < 50):
            noise = rng.standard_normal(batch.layout.samples_per_micro_turn)
            audio = (_LEVEL * noise).astype(np.float32)
            with torch.inference_mode():
                backbone.set_up(length)
            started = time.perf_counter()
            batch.step_rows({0: MicroTurnIn(audio=audio)})
            spent.append(time.perf_counter() - started)
        times[length] = 1000 * float(np.median(spent))
        bar.update()
    return PeerTimes(times)
