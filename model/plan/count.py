"""Parameters of a model by part, counted on the module itself, which may have no memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.model.config import ModelConfig
from microturn.model.model import InteractionModel
from microturn.model.param_groups import ParamGroup, param_groups
from microturn.model.streams import StreamLayout

ROUTED = "routed experts"
_PARTS = (  # part, prefix and substring of its names; the first match counts
    ("shared experts", "backbone", ".ff.shared."),
    ("routers", "backbone", ".ff.router."),
    ("sinks", "backbone", ".sink_"),
    ("norms", "backbone", "norm"),
    ("attention", "backbone", ".attention."),
    ("dense layers", "backbone", ".ff."),
    ("embeddings", "embed.", ""),
    ("unembedding", "unembed.", ""),
    ("flow head", "flow.", ""),
    ("vocoder", "vocoder.", ""),
)


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters; `matrices` have one optimiser state, the others two."""

    total: int
    active: int
    parts: dict[str, tuple[int, int]]  # total and active
    routed: int
    matrices: int
    matrix_shapes: dict[tuple[int, ...], int]  # how many matrices, or stacks, have a shape
    largest_block: int  # without routed experts and sinks
    cache: int  # numbers in one session's caches


def meta_model(cfg: ModelConfig, layout: StreamLayout, vocab_size: int) -> InteractionModel:
    """Build the module with shapes and no memory."""
    with torch.device("meta"):
        return InteractionModel(cfg, layout, vocab_size)


def count(model: InteractionModel) -> Counts:
    """Count a module, also on the meta device. Active: all but the experts not chosen."""
    moe = model.cfg.moe
    parts: dict[str, tuple[int, int]] = {}
    routed = matrices = 0
    groups, shapes = param_groups(model), Counter[tuple[int, ...]]()
    for name, parameter in model.named_parameters():
        part, size = part_of(name, parameter), parameter.numel()
        active = size
        if part == ROUTED:
            active = size * moe.top_k // moe.n_experts
            routed += size
        before = parts.get(part, (0, 0))
        parts[part] = before[0] + size, before[1] + active
        if groups[parameter] is ParamGroup.MATRIX:
            matrices += size
            shapes[tuple(parameter.shape)] += 1
    blocks = [
        sum(p.numel() for p in block.parameters() if p.dim() < 3) for block in model.backbone.blocks
    ]
    state = model.backbone.init_state(1, device=torch.device("meta"), dtype=torch.bfloat16)
    return Counts(
        total=sum(total for total, _ in parts.values()),
        active=sum(active for _, active in parts.values()),
        parts=dict(sorted(parts.items(), key=lambda item: -item[1][0])),
        routed=routed,
        matrices=matrices,
        matrix_shapes=dict(shapes),
        largest_block=max(blocks),
        cache=sum(c.k.numel() + c.v.numel() for c in state.layers),
    )


def part_of(name: str, parameter: Tensor) -> str:
    """Name the part of a parameter; stacks of matrices in a feed-forward layer are experts."""
    if ".ff." in name and parameter.dim() == 3:
        return ROUTED
    for part, start, fragment in _PARTS:
        if name.startswith(start) and fragment in name:
            return part
    raise ValueError(f"no part of the plan counts the parameter {name}")
