"""The choice of a token on a text lane: first whether there is one, then which.

Where many words would do, each of them is less likely than `<idle>` although together they are more
likely: the most likely token alone would keep an agent of open speech silent for ever.
"""

from __future__ import annotations

import torch
from torch import Tensor

from microturn.model.streams import IDLE


def choose_token(logits: Tensor, start_at: float) -> Tensor:
    """Choose ids (...) int64 from logits (..., V), without chance.

    `<idle>` where all other tokens together are less likely than `start_at`, else the most likely
    of the others.
    """
    chosen = logits[..., IDLE + 1 :].argmax(-1) + (IDLE + 1)
    idle = logits.float().softmax(-1)[..., IDLE] > 1.0 - start_at
    return torch.where(idle, IDLE, chosen)
