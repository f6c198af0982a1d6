"""Numbers that a forward pass keeps for the backward pass, part by part.

What each operation saves, in the order of the code (`model/backbone.py`, `kernels/experts.py`,
`model/flow_head.py`); the test counts what autograd really holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from microturn.kernels.window_attention import BLOCKS_PER_WINDOW, MIN_BLOCK
from microturn.model.flow_head import TIME_FEATURES
from microturn.model.plan.config import PlanConfig
from microturn.model.stems.audio_stem import STRIDES
from microturn.model.streams.layout import FINE_FRAMES_PER_FRAME

_FP32 = 4


@dataclass(frozen=True)
class Kept:
    """Numbers in fp32 whatever the precision, and numbers in the precision of products."""

    wide: float = 0.0
    narrow: float = 0.0

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.wide + other.wide, self.narrow + other.narrow)

    def __mul__(self, times: float) -> Kept:
        return Kept(times * self.wide, times * self.narrow)

    def bytes(self, config: PlanConfig) -> float:
        """Compute their bytes in the precision of a run."""
        return _FP32 * self.wide + config.bytes_of_products * self.narrow


def block(config: PlanConfig, layer: int) -> Kept:
    """Count what a block keeps for each position: its inputs and what lies inside."""
    model = config.model
    inside = attention(config, layer)
    if not model.has_ff(layer):
        return inside
    return inside + (experts(config) if model.has_experts(layer) else dense(config))


def attention(config: PlanConfig, layer: int) -> Kept:
    """Count norm, projections, queries, keys, values and the output of attention."""
    model = config.model
    D, H, G, K = model.d_model, model.n_heads, model.n_kv_heads, model.head_dim
    # The normed input, queries and keys with values, rotated ones, the output twice.
    narrow = D + (H + 2 * G) * K + (H + G) * K + 2 * D + 2 * G * K * _copies(config, layer)
    norms = 0 if config.precision == "32" else 2 * (H + G) * K  # of queries and keys, in fp32
    return Kept(D + norms, narrow)


def _copies(config: PlanConfig, layer: int) -> float:
    """Count how often a position's keys and values are copied (`kernels/window_attention.py`).

    A CPU copies the window of each block of queries, and with sinks the keys of each part of the
    first ones; a GPU puts sinks in front of all keys, once.
    """
    model, S = config.model, config.layout.n_positions
    if config.accelerator == "gpu":
        return 1.0 if model.n_sinks else 0.0
    n, reach = config.micro_turns * S, model.reach(layer) * S
    size = max(MIN_BLOCK, reach // BLOCKS_PER_WINDOW)
    head = min(n, reach)
    parts = ceil(head / size)
    of_head = (parts + 1) / 2 * head / n if model.n_sinks else 0.0
    if n <= reach:
        return of_head
    rows = ceil((n - head) / size)
    return of_head + rows * (reach + ceil((n - head) / rows)) / n


def dense(config: PlanConfig) -> Kept:
    """Count a SwiGLU layer: both inputs, gate and value, the gate's SiLU, their product."""
    return Kept(config.model.d_model, config.model.d_model + 4 * config.model.d_ff)


def experts(config: PlanConfig) -> Kept:
    """Count a mixture: the rows of each position, there and back, and what experts hold."""
    model, moe = config.model, config.model.moe
    D, rows = model.d_model, moe.top_k * model.d_model
    # A GPU keeps the SiLU and the product of each expert, a CPU computes them again.
    routed = (2 if config.accelerator == "cpu" else 4) * moe.top_k * moe.d_expert
    shared = 5 * moe.n_shared * moe.d_expert  # as dense, and what is scaled
    router = 2 * (moe.n_experts + moe.n_shared) + 6 * moe.n_active
    if config.precision == "32":
        return Kept(2 * D, 2 * rows + routed + shared + router)
    # The router reads the position in fp32, the experts in bf16; the weighted rows are fp32.
    return Kept(2 * D + rows + router, D + rows + routed + shared)


def ends(config: PlanConfig) -> Kept:
    """Count all around the blocks for a micro-turn: lanes, words and the flow head."""
    model, flow, layout = config.model, config.model.flow, config.layout
    P, W = layout.patch_dim, flow.width
    words = layout.heard_positions + layout.say_positions
    lanes = Kept(4 * layout.n_positions * model.d_model)  # embedded, two norms, their output
    # A draw: the noised patch, time, and in each block norms, modulation and a wide layer; the
    # error in fp32. A position: noise, the own voice, its history and the previous patch.
    draw = Kept(P, P + 5 * W + TIME_FEATURES + 12 * W * flow.depth)
    position = Kept((flow.draws + 4) * P, P + model.d_model)
    return (
        lanes
        + audio_stem(config)
        + Kept(1.5 * words * config.vocab_size)  # log-probabilities, gradients of half of them
        + (position + draw * flow.draws) * layout.audio_out_positions
    )


def audio_stem(config: PlanConfig) -> Kept:
    """Count the stem of sound: of each stage the products, their norm and its GELU."""
    layout, channels = config.layout, config.model.audio_channels
    if not channels:
        return Kept()
    rows, numbers = layout.n_mels, layout.n_mels
    for stride, width in zip((*STRIDES, 0), channels, strict=True):
        rows = rows // stride if stride else 1
        numbers += 3 * rows * width
    return Kept(0, layout.frames_per_micro_turn * numbers)


def vocoder(config: PlanConfig) -> Kept:
    """Count what a learned vocoder keeps for its share of a step's segments of sound.

    Of a frame of 12.5 ms ten times the width in each block; of a sample the spectra of frames and
    losses, counted once (85).
    """
    cfg, layout = config.model.vocoder, config.layout
    if cfg.kind == "griffin_lim":
        return Kept()
    samples = cfg.segments / (config.gpus * config.accumulate)
    samples *= cfg.segment_ms * layout.sample_rate / 1000
    hop = layout.samples_per_frame / FINE_FRAMES_PER_FRAME
    return Kept(samples * (85 + 10 * cfg.layers * cfg.width / hop))
