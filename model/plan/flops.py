"""FLOPs of a micro-turn and of an update: matrices and attention, two per multiply-add.

Norms, tables, softmax and the choice of experts count nothing.
"""

from __future__ import annotations

from math import prod

from microturn.model.config import ModelConfig
from microturn.model.stems.audio_stem import BANDS, FRAMES, STRIDES
from microturn.model.stems.hmlp import FOLDS
from microturn.model.streams import StreamLayout
from microturn.model.streams.layout import PATCH_SIZE


def forward_flops(
    cfg: ModelConfig, layout: StreamLayout, vocab_size: int, n: int, *, training: bool
) -> dict[str, float]:
    """Count one micro-turn's forward pass by part, averaged over dialogues of n micro-turns.

    training: the flow head runs once per noise draw; else once per Euler step, and twice that
    with guidance. A backward pass takes twice as much again.
    """
    S, D, moe = layout.n_positions, cfg.d_model, cfg.moe
    n_moe = cfg.n_blocks_of_experts()
    experts = D * (3 * moe.d_expert * moe.n_active + moe.n_experts + moe.n_shared)
    words = sum(spec.positions for spec in layout.made_lanes if spec.kind == "tokens")
    frames = (spec for spec in layout.declared_lanes if spec.kind == "frames")
    return {
        **{spec.name: spec.positions * stem_flops(cfg) for spec in frames},
        "audio_in": audio_stem_flops(cfg, layout),
        "projections": 2.0 * S * cfg.n_layers * projection_weights(cfg),
        "attention": sum(
            4.0 * S * D * (mean_reach(n * S, reach) + cfg.n_sinks)
            for reach in (S * cfg.reach(layer) for layer in range(cfg.n_layers))
        ),
        "dense": 2.0 * S * (cfg.n_layers - cfg.n_attention_only - n_moe) * 3 * D * cfg.d_ff,
        "experts": 2.0 * S * n_moe * experts,
        "words": 2.0 * words * vocab_size * D,
        "flow": layout.audio_out_positions * flow_flops(cfg, layout.patch_dim, training=training),
    }


def muon_flops(shape: tuple[int, ...]) -> float:
    """Count five Newton-Schulz rounds of a matrix, or of each of a stack (`training/optim.py`)."""
    *stack, rows, columns = shape
    short, long = sorted((rows, columns))
    return prod(stack) * 5.0 * (4 * short * short * long + 2 * short**3)


def projection_weights(cfg: ModelConfig) -> int:
    """Count the weights of one layer around its attention."""
    return cfg.d_model * (cfg.d_model + (cfg.n_heads + 2 * cfg.n_kv_heads) * cfg.head_dim)


def mean_reach(n_positions: int, reach: int) -> float:
    """Average the positions that a causal query sees in a dialogue, itself included."""
    full = max(0, n_positions - reach)
    ramp = n_positions - full
    return (ramp * (ramp + 1) / 2 + full * reach) / n_positions


def flow_flops(cfg: ModelConfig, patch_dim: int, *, training: bool) -> float:
    """Count one position of the flow head with its embedding back into the backbone."""
    flow, W = cfg.flow, cfg.flow.width
    passes = flow.draws if training else flow.steps * (1 if flow.guidance == 1.0 else 2)
    once = cfg.d_model * W + patch_dim * W + patch_dim * cfg.d_model
    return 2.0 * (passes * (2 * patch_dim * W + flow.depth * 7 * W * W) + once)


def stem_flops(cfg: ModelConfig) -> float:
    """Count the stem over one patch of a frame."""
    channels, side, total = (3, *cfg.video_channels, cfg.d_model), PATCH_SIZE, 0
    for fold, before, after in zip(FOLDS, channels, channels[1:], strict=False):
        side //= fold
        total += side * side * fold * fold * before * after
    return 2.0 * total


def audio_stem_flops(cfg: ModelConfig, layout: StreamLayout) -> float:
    """Count the stem of sound over the frames of a micro-turn; 0 without one."""
    if not cfg.audio_channels:
        return 0.0
    rows, before, total = layout.n_mels, 1, 0
    for bands, stride, width in zip(BANDS, STRIDES, cfg.audio_channels, strict=False):
        rows //= stride
        total += rows * FRAMES * bands * before * width
        before = width
    width = cfg.audio_channels[-1]
    return (
        2.0 * layout.frames_per_micro_turn * (total + rows * before * width + width * cfg.d_model)
    )
