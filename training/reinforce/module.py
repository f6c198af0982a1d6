"""Optimiser steps on rollouts, beside recorded dialogues; all else is `TrainingModule`'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from microturn.model.model import InteractionModel
from microturn.training.config import TrainingConfig
from microturn.training.data import MicroBatch
from microturn.training.module import TrainingModule, seed_of
from microturn.training.reinforce.advantages import by_dialogue, by_event
from microturn.training.reinforce.config import ReinforceConfig
from microturn.training.reinforce.environment import Users
from microturn.training.reinforce.policy_loss import of_chosen, policy_terms, say_log_probs
from microturn.training.reinforce.rewards import Rewarded, rewards_of
from microturn.training.reinforce.rollout import Rollout, roll_out
from microturn.training.state import State

_CHANCE: Final = 4  # in the seeds of rollouts


@dataclass(frozen=True, kw_only=True)
class Experience:
    """A rollout with everything that the steps on it need."""

    rollout: Rollout
    rewarded: tuple[Rewarded, ...]
    advantages: Tensor  # (B, N)
    before: Tensor  # (B, N) log-probability of what was said
    frozen: Tensor  # (B, N, P, V) log-probabilities of the frozen model


class ReinforceModule(TrainingModule):
    """Holds conversations with users, and makes more likely what earned more than the group's mean.

    A rollout is a function of the weights, the seed and the step, so a run that resumes holds the
    same conversations. States are saved between rollouts only: `stepped` is true at their ends.
    """

    def __init__(
        self,
        model: InteractionModel,
        cfg: TrainingConfig,
        reinforce: ReinforceConfig,
        *,
        frozen: InteractionModel,
        users: Users,
        names: Any = str,
        resumed: State | None = None,
    ) -> None:
        super().__init__(model, cfg, names=names, resumed=resumed)
        self.reinforce, self.users = reinforce, users
        self._frozen = [frozen.requires_grad_(False).eval()]  # in a list: no part of this module
        self._experience: Experience | None = None

    # --- conversations -----------------------------------------------------------------------
    def _hold_conversations(self) -> Experience:
        """Hold the conversations of the rollout that begins at the current step."""
        cfg = self.reinforce.rollout
        number = self.steps // cfg.updates
        first = number * cfg.n_dialogues
        numbers = [first + row // cfg.n_samples for row in range(cfg.n_rows)]
        users = [self.users.begin(one) for one in numbers]
        rollout = roll_out(
            self.model,
            users,
            seeds=[seed_of(self.cfg.seed, number, row, _CHANCE) for row in range(cfg.n_rows)],
            temperature=cfg.temperature,
            max_micro_turns=cfg.max_micro_turns,
        )
        reward = self.reinforce.reward
        rewarded = tuple(rewards_of(self.users.scored(user), reward) for user in users)
        return self._learnt_from(rollout, rewarded)

    @torch.no_grad()
    def _learnt_from(self, rollout: Rollout, rewarded: Sequence[Rewarded]) -> Experience:
        cfg = self.reinforce.rollout
        compare = by_event if self.reinforce.reward.credit == "event" else by_dialogue
        n, size = rollout.lanes.shape[1], cfg.n_samples
        groups = [rewarded[at : at + size] for at in range(0, len(rewarded), size)]
        advantages = np.concatenate([compare(group, n) for group in groups])
        frozen = self._frozen[0].to(self.device)
        self.model.eval()  # nothing is counted for the balance of experts
        log_probs = say_log_probs(self.model, rollout, cfg.temperature)
        self.model.train()
        return Experience(
            rollout=rollout,
            rewarded=tuple(rewarded),
            advantages=torch.from_numpy(advantages).to(self.device) * rollout.real,
            before=of_chosen(log_probs, rollout),
            frozen=say_log_probs(frozen, rollout, cfg.temperature),
        )

    # --- a step ------------------------------------------------------------------------------
    def _losses(self, batch: MicroBatch) -> dict[str, Tensor]:
        if self._experience is None or self.steps % self.reinforce.rollout.updates == 0:
            self._experience = self._hold_conversations()
        cfg, experience = self.reinforce, self._experience
        terms = policy_terms(
            say_log_probs(self.model, experience.rollout, cfg.rollout.temperature),
            experience.frozen,
            experience.rollout,
            before=experience.before,
            advantages=experience.advantages,
            clip=cfg.clip,
        )
        reinforced = terms.policy + cfg.kl * terms.kl
        losses = {
            "policy": terms.policy,
            "kl": terms.kl,
            "entropy": terms.entropy,
            "clipped": terms.clipped,
        }
        if cfg.supervised_share:
            supervised = super()._losses(batch)
            recorded = supervised.pop("loss")
            reinforced = (1 - cfg.supervised_share) * reinforced + cfg.supervised_share * recorded
            losses |= supervised
        return losses | {"loss": reinforced}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        assert self._experience is not None
        values = reward_metrics(self._experience.rewarded)
        self.metrics |= {name: torch.tensor(value) for name, value in values.items()}

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.stepped = self.steps % self.reinforce.rollout.updates == 0 or self.progress >= 1

    # --- for callbacks -----------------------------------------------------------------------
    @property
    def dialogues_per_step(self) -> float:
        """Conversations of a rollout, which counts as one step for the callbacks."""
        return self.reinforce.rollout.n_rows

    @property
    def passes(self) -> float:
        """Those of the updates, and a third for each forward pass alone: held, frozen, before."""
        return self.reinforce.rollout.updates + 1.0

    def headline(self) -> str:
        reward, kl = self.metrics["reward"], self.metrics["loss/kl"]
        return f"reward {float(reward):.2f} kl {float(kl):.4f}"


def reward_metrics(rewarded: Sequence[Rewarded]) -> dict[str, float]:
    """Average rewards: of a dialogue, of an event by kind, and slips per minute of micro-turns."""
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    for one in rewarded:
        for reward in one.rewards:
            by_kind[f"reward/{reward.kind}"].append(reward.value)
    slips, n = (sum(values) for values in zip(*_slips_of(rewarded), strict=True))
    return {
        "reward": float(np.mean([one.total for one in rewarded])),
        "slip_share": slips / n,
        **{name: float(np.mean(values)) for name, values in sorted(by_kind.items())},
    }


def _slips_of(rewarded: Sequence[Rewarded]) -> list[tuple[float, int]]:
    return [(float(one.slips.sum()), len(one.slips)) for one in rewarded]
