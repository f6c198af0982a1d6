"""A trainer or Lightning checkpoint that says other than the configuration is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import lightning as L
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from microturn.training.config import TrainingConfig

# Settings that decide the weights after a step: a checkpoint goes on with the same ones.
_SAME: Final = ("seed", "max_steps", "max_minutes", "batch_size", "heard", "model", "optim")


def check_trainer(trainer: L.Trainer, cfg: TrainingConfig) -> None:
    """Raise ValueError where a Trainer's arguments contradict the configuration."""
    accumulate = trainer.accumulate_grad_batches
    if accumulate != cfg.accumulate:
        raise ValueError(
            f"Trainer(accumulate_grad_batches={accumulate}) contradicts accumulate="
            f"{cfg.accumulate}, by which batches are cut; give both the same number"
        )
    clip, by = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
    if clip is not None and clip != cfg.optim.clip:
        raise ValueError(
            f"Trainer(gradient_clip_val={clip}) contradicts optim.clip={cfg.optim.clip}; give both "
            "the same number, or only optim.clip"
        )
    if by is not None and by != "norm":
        raise ValueError(
            f"Trainer(gradient_clip_algorithm={by}) contradicts optim.clip, the largest norm of "
            "the gradient; leave it out"
        )
    if trainer.max_steps > cfg.max_steps:
        raise ValueError(
            f"Trainer(max_steps={trainer.max_steps}) goes beyond max_steps={cfg.max_steps}, where "
            "the rate reaches zero; give both the same number"
        )
    strategy = trainer.strategy
    if cfg.parallel.is_sharded and not isinstance(strategy, ModelParallelStrategy):
        raise ValueError(
            "Trainer(strategy=...) keeps whole weights on each device, which contradicts "
            "parallel.shard and parallel.expert; give Trainer(**trainer_arguments(cfg))"
        )
    if isinstance(strategy, DDPStrategy) and strategy._ddp_kwargs.get("broadcast_buffers", True):
        raise ValueError(
            "Trainer(strategy=ddp) copies the first device's counts of experts over those of the "
            "others; give Trainer(**trainer_arguments(cfg)), or "
            "DDPStrategy(broadcast_buffers=False)"
        )


def check_checkpoint(
    checkpoint: Mapping[str, Any], cfg: TrainingConfig, key: str
) -> Mapping[str, Any]:
    """Return what TrainingModule saved in a checkpoint; ValueError where it is of another run."""
    saved = checkpoint.get(key)
    if saved is None:
        raise ValueError(
            f"the checkpoint of ckpt_path= has no entry {key}, so TrainingModule did not write it"
        )
    now, then = (json.loads(json.dumps(each)) for each in (asdict(cfg), saved["config"]))
    differences = [
        f"{name} {then.get(name)} there, {now[name]} here"
        for name in _SAME
        if now[name] != then.get(name)
    ]
    if differences:
        raise ValueError(
            f"the checkpoint of ckpt_path= is of another run ({'; '.join(differences)}); go on "
            "with its configuration"
        )
    return saved


def go_back_to_whole_step(checkpoint: Mapping[str, Any], n_micro_batches: int) -> None:
    """Let a checkpoint count the micro-batches of whole steps only.

    One that was saved inside a step has lost the gradient of its first micro-batches, which are
    computed again.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if progress["total"]["ready"] > n_micro_batches:
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(counts, n_micro_batches))
