"""Training with Lightning: `LightningModule`, `LightningDataModule` and their configuration.

Names are imported when they are first used, so that reading a configuration loads no torch.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microturn.model.model import InteractionModel
    from microturn.training.build import build_run
    from microturn.training.cli import config_of
    from microturn.training.config import TrainingConfig
    from microturn.training.data import DialogueData
    from microturn.training.module import TrainingModule
    from microturn.training.train import trainer_arguments

# Threads that wait must not spin (docs/training.md, Length of a run); read when torch is loaded.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "DialogueData": "microturn.training.data",
    "InteractionModel": "microturn.model.model",
    "TrainingConfig": "microturn.training.config",
    "TrainingModule": "microturn.training.module",
    "build_run": "microturn.training.build",
    "config_of": "microturn.training.cli",
    "trainer_arguments": "microturn.training.train",
}

__all__ = [
    "DialogueData",
    "InteractionModel",
    "TrainingConfig",
    "TrainingModule",
    "build_run",
    "config_of",
    "trainer_arguments",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
