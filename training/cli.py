"""`microturn train`."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.training.config import TrainingConfig


def _train(cfg: TrainingConfig) -> int:
    from microturn.training.train import train

    return train(cfg)


TRAIN = Command(
    schema=TrainingConfig,
    run=_train,
    help="train a model on simulated dialogues",
    on_interrupt="interrupted; the same command again continues from the last state in out/states/",
)
