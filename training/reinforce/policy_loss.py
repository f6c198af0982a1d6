"""The loss of a rollout: words that earned more than others of their group become more likely.

Clipped as in PPO (arXiv 1707.06347), advantages by group as in GRPO (arXiv 2402.03300) without a
critic, and the exact divergence from a frozen model. B rows, N micro-turns, P tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.model.model import InteractionModel
from microturn.training.reinforce.rollout import SAMPLED, Rollout


def say_log_probs(model: InteractionModel, rollout: Rollout, temperature: float) -> Tensor:
    """Compute the log-probabilities of all tokens, (B, N, P, V), in one teacher-forced pass."""
    hidden = model(rollout.lanes, rollout.patches)[SAMPLED]
    return (model.unembed(hidden).float() / temperature).log_softmax(-1)


def of_chosen(log_probs: Tensor, rollout: Rollout) -> Tensor:
    """Return the log-probability of what each micro-turn said, (B, N)."""
    chosen = rollout.lanes[SAMPLED].unsqueeze(-1)
    return log_probs.gather(-1, chosen).squeeze(-1).sum(-1)


@dataclass(frozen=True)
class PolicyTerms:
    """Means over the micro-turns of a rollout."""

    policy: Tensor  # what is minimised for the reward; of conversations that have an advantage
    kl: Tensor  # nats of a micro-turn, from the frozen model
    entropy: Tensor  # nats of a micro-turn; no gradient
    clipped: Tensor  # share of the micro-turns with an advantage that clipping holds


def policy_terms(
    log_probs: Tensor,
    frozen: Tensor,
    rollout: Rollout,
    *,
    before: Tensor,
    advantages: Tensor,
    clip: float,
) -> PolicyTerms:
    """Compute the terms of the loss.

    log_probs, frozen (B, N, P, V): of the model, and of the frozen one. before (B, N): of what was
    said, at the time. advantages (B, N).
    """
    real = rollout.real

    def mean(values: Tensor) -> Tensor:
        return (values * real).sum() / real.sum()

    ratio = (of_chosen(log_probs, rollout) - before).exp()
    held = ratio.clamp(1 - clip, 1 + clip)
    gained = torch.minimum(ratio * advantages, held * advantages)
    probs = log_probs.exp()
    with torch.no_grad():
        entropy = -(probs * log_probs).sum((-1, -2))
        counted = (advantages != 0).float() * real
        beyond = (ratio * advantages > held * advantages).float() * counted
    # Groups whose conversations all went alike say nothing, and must not weaken those that do.
    telling = (advantages != 0).any(1, keepdim=True).float() * real
    return PolicyTerms(
        policy=-(gained * telling).sum() / telling.sum().clamp_min(1),
        kl=mean((probs * (log_probs - frozen)).sum((-1, -2))),
        entropy=mean(entropy),
        clipped=beyond.sum() / counted.sum().clamp_min(1),
    )
