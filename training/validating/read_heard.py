"""What a dialogue reads as `heard` in training: the true words, none, or the model's own.

With the true words before it `say` is learned from them, and little from the sound; a session has
the model's own. The targets stay the true words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.own_heard import own_heard
from microturn.model.streams import IDLE
from microturn.training.config import HeardConfig


def read_heard(
    model: InteractionModel, batch: LaneBatch, seeds: Sequence[int], step: int, cfg: HeardConfig
) -> Tensor | None:
    """Choose for each dialogue by its seed what it reads, (B, N, P); None: all read the truth."""
    grown = min(1.0, (step + 1) / max(1, cfg.ramp_steps))
    draws = np.array([np.random.default_rng(seed).random() for seed in seeds])
    own = draws < grown * cfg.own_share
    masked = ~own & (draws < grown * (cfg.own_share + cfg.masked_share))
    if not (own | masked).any():
        return None
    heard = batch["heard"].clone()
    heard[torch.from_numpy(masked)] = IDLE
    if own.any():
        rows = torch.from_numpy(np.flatnonzero(own)).to(heard.device)
        some = batch.map(lambda tensor: tensor[rows])
        was_training = model.training
        model.eval()  # experts that are only asked are not counted
        heard[rows] = own_heard(model, some, model.patches(some["audio_out"]))
        model.train(was_training)
    return heard
