"""The choice of a token on a text lane: first whether there is one, then which.

Where many words would do, each of them is less likely than `<idle>` although together they are more
likely: the most likely token alone would keep an agent of open speech silent for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


def draw_token(
    logits: Tensor, start_at: float, *, temperature: float, uniform: Tensor, sounding: Tensor
) -> Tensor:
    """Choose ids (...) int64 from logits (..., V): to begin without chance, all else by it.

    sounding (...): whether the voice is heard. While it is, the token is that of `sample_token`
    with uniform (...): words follow each other as they were learnt to. While it is not, there is a
    word where `choose_token` has one, drawn in the same way: the most likely one is always the
    same, such as "oh", and who chooses it never begins a story.
    """
    words = sample_token(logits[..., IDLE + 1 :], uniform, temperature) + (IDLE + 1)
    idle = logits.float().softmax(-1)[..., IDLE] > 1.0 - start_at
    begun = torch.where(idle, IDLE, words)
    return torch.where(sounding, sample_token(logits, uniform, temperature), begun)


@dataclass(frozen=True)
class Sampling:
    """Chance in the choice of tokens: lanes with numbers are sampled, the others chosen."""

    temperature: float
    uniform: Mapping[str, Tensor]  # (B, P) in [0, 1) by lane of tokens


def sample_token(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Draw ids (...) int64 from softmax(logits (..., V) / temperature), `<idle>` as any other.

    uniform (...) in [0, 1) is all chance there is: the first id whose cumulated probability lies
    above it.
    """
    cumulated = (logits.float() / temperature).softmax(-1).cumsum(-1)
    below = (cumulated <= uniform.unsqueeze(-1)).sum(-1)
    return below.clamp_max(logits.shape[-1] - 1)  # a sum may end a little below one
