"""Activation checkpointing, compilation and sharding of a model's blocks.

Sharding: one mesh of data x shard x expert devices, which all read other dialogues. Weights are
replicated over `data` and shared by `shard` x `expert` devices (PyTorch's FSDP2, HSDP where data is
above 1). Routed experts are split over `expert`, and each part is shared by `shard` devices, as in
torchtitan: the expert axis is taken out of the axis that weights are shared over.
"""

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

from microturn.kernels.expert_exchange import ExpertExchange
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts, counted_once
from microturn.training.config import ParallelConfig


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


def shard_model(model: InteractionModel, parallel: ParallelConfig, device_type: str) -> None:
    """Leave each device its share of every weight; a block gathers its own to compute.

    parallel: with the number of groups; the processes of the run have met. Names and shapes of
    weights stay, as those of distributed tensors. A model may have no memory (`meta`).
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    names = ("data", "shard", "expert")  # the devices of the last axis are neighbours
    mesh = init_device_mesh(
        device_type, tuple(getattr(parallel, name) for name in names), mesh_dim_names=names
    )
    mesh["shard", "expert"]._flatten("group")
    copies = ("data",) if parallel.data > 1 else ()
    mixtures = [*model.backbone.routers().values()] if parallel.expert > 1 else []
    experts = {weight for each in mixtures for weight in _split_experts(each, mesh["expert"])}
    for module in [*model.modules_to_shard(), model]:
        fully_shard(module, mesh=mesh[(*copies, "group")], ignored_params=experts)
    for mixture in mixtures:  # after its block, which has taken all but the experts
        others = {*mixture.parameters()} - experts
        fully_shard(mixture, mesh=mesh[(*copies, "shard")], ignored_params=others)
    register_fsdp_forward_method(model.flow, "loss")
    register_fsdp_forward_method(model, "forward_window")


def _split_experts(mixture: MixtureOfExperts, mesh: Any) -> list[nn.Parameter]:
    """Keep this device's experts and exchange tokens for the others; return their weights."""
    from torch.distributed.tensor import Shard, distribute_tensor

    for name in ("up", "down"):
        whole = getattr(mixture, name)
        part = distribute_tensor(whole.detach(), mesh, [Shard(0)], src_data_rank=None)
        setattr(mixture, name, nn.Parameter(part, requires_grad=whole.requires_grad))
    mixture.exchange = ExpertExchange(mesh.get_group())
    return [mixture.up, mixture.down]
