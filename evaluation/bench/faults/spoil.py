"""A callback that spoils the gradient of one rank, as a broken device does."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback


class SpoilGradient(Callback):
    """Puts NaN into a gradient of one rank, after the ranks have exchanged theirs."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            gradients[0].fill_(torch.nan)
