"""One optimiser step on a batch of dialogues; what to learn is in model/losses.py."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.losses import compute_losses
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.training.config import TrainingConfig
from microturn.training.optim import build_optimizer, rate


class TrainingModule(L.LightningModule):
    """Losses, optimiser, schedule by steps or minutes, router balance, non-finite guard."""

    def __init__(self, model: InteractionModel, cfg: TrainingConfig) -> None:
        super().__init__()
        self.model, self.cfg = model, cfg
        self.trained_seconds = 0.0  # over all runs that were resumed
        self._last_tick = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.model, self.cfg.optim)

    def on_train_start(self) -> None:
        self._last_tick = time.monotonic()

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by minutes, in [0, 1]."""
        steps = self.global_step / self.cfg.max_steps
        minutes = self.trained_seconds / 60 / self.cfg.max_minutes if self.cfg.max_minutes else 0
        return min(1.0, max(steps, minutes))

    def skip_time(self, seconds: float) -> None:
        """Do not count time that was spent on something else, such as listening."""
        self._last_tick += seconds

    def transfer_batch_to_device(
        self, batch: LaneBatch, device: torch.device, dataloader_idx: int
    ) -> LaneBatch:
        return batch.to(device)

    def training_step(self, batch: LaneBatch, batch_idx: int) -> Tensor:
        parts = compute_losses(self.model, batch)
        if not torch.isfinite(parts["loss"]):
            values = ", ".join(
                f"{name} {float(value.detach()):.3g}" for name, value in parts.items()
            )
            raise ValueError(
                f"step {self.global_step}: the loss is not finite ({values}); the state before "
                f"it is in {self.cfg.out}/last.ckpt, lower optim.lr or optim.muon_lr"
            )
        size = batch.shape[0]
        self.log_dict({f"loss/{k}": v.detach() for k, v in parts.items()}, batch_size=size)
        return parts["loss"]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        share = rate(self.global_step, self.progress, self.cfg.optim)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.log("rate", share)

    def on_train_batch_end(self, outputs: Any, batch: LaneBatch, batch_idx: int) -> None:
        now = time.monotonic()
        self.trained_seconds += now - self._last_tick
        self._last_tick = now
        imbalance = []
        for module in self.model.modules():
            if isinstance(module, MixtureOfExperts):
                load = module.update_bias_()
                imbalance.append(load.max() / load.mean().clamp_min(1))
        if imbalance:
            self.log("router/imbalance", torch.stack(imbalance).mean())
        if self.progress >= 1.0:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["trained_seconds"] = self.trained_seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.trained_seconds = float(checkpoint["trained_seconds"])
