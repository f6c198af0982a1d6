"""Activation checkpointing, compilation and sharding of a model's blocks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from microturn.model.model import InteractionModel
from microturn.model.moe import counted_once


def recompute_blocks(model: InteractionModel) -> None:
    """Apply activation checkpointing: keep each block's input, recompute the block in backward."""
    for block in model.backbone.blocks:
        block.forward = partial(_recomputed, block.forward, block)


def _recomputed(forward: Callable[..., Tensor], block: nn.Module, *args: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(*args)
    contexts: Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]
    contexts = lambda: (nullcontext(), counted_once(block))  # noqa: E731
    output: Tensor = checkpoint(
        forward, *args, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )
    return output


def check_compiler() -> None:
    """Raise ValueError where `torch.compile` would find no compiler; Triton needs one of C."""
    names = ("gcc", "clang") if torch.cuda.is_available() else ("g++",)
    chosen = os.environ.get("CC" if torch.cuda.is_available() else "CXX", "")
    if not any(shutil.which(name) for name in (chosen, *names) if name):
        raise ValueError(
            f"compile=true needs a compiler ({' or '.join(names)}), and there is none on PATH; "
            "install one or give compile=false"
        )


def compile_blocks(model: InteractionModel) -> None:
    """Apply `torch.compile` to each block; names of weights stay."""
    for block in model.blocks_to_compile():
        block.compile(dynamic=False)


def shard_blocks(model: InteractionModel, mesh: Any) -> None:
    """Apply FSDP: each block and head keeps its share of every weight and gathers to compute."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for module in model.modules_to_shard():
        fully_shard(module, mesh=mesh)
    register_fsdp_forward_method(model.flow, "loss")
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "forward_window")
