"""What users draw beyond the planned dialogue: by name, and by the micro-turn it is drawn in.

A new draw changes no other, and two agents that behave alike get the same user.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microturn.datagen.closed_loop.config import ReactionConfig
from microturn.datagen.closed_loop.plan import REACTION_S
from microturn.datagen.config import TimingConfig
from microturn.datagen.dialogue.human_timing import MIN_CHANGE_S, NORMAL, inside, log_normal
from microturn.datagen.dialogue.seeds import rng_for


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The draws of one user; all times are samples."""

    timing: TimingConfig
    seed: int
    index: int
    rate: int
    micro_turn: int  # samples

    @property
    def reactions(self) -> ReactionConfig:
        return self.timing.reactions

    def samples(self, seconds: float) -> int:
        return round(seconds * self.rate)

    def chance(self, purpose: str, share: float, *, at: int) -> bool:
        """Whether what happens in a share of cases happens at a sample."""
        return bool(self._rng(purpose, at).random() < share)

    def patience(self, reply: int, attempt: int) -> int:
        """How much longer than planned a reply is waited for, the first time or again."""
        rng = rng_for(self.seed, self.index, f"closed loop/patience/{reply}/{attempt}")
        return self.samples(float(rng.uniform(*self.reactions.patience_s)))

    def reaction(self, at: int) -> int:
        """How long after the agent's onset a user gives way to it in the middle of their words.

        In human timing the law of how long two people overlap.
        """
        rng, human = self._rng("reaction", at), self.timing.human
        if not human.enabled:
            return self.samples(float(rng.uniform(*self.reactions.reaction_s)))
        z = NORMAL.inv_cdf(inside(float(rng.random())))
        within = (MIN_CHANGE_S, human.longest_overlap_s)
        overlap_s = log_normal(z, human.overlap_median_s, human.overlap_sigma, within)
        return self.samples(max(overlap_s, REACTION_S))

    def free(self, at: int) -> int:
        """How long an agent is silent before a user speaks whom it has broken off.

        In human timing the law of gaps between speakers, where it is longer.
        """
        human, free_s = self.timing.human, self.reactions.free_s
        if not human.enabled:
            return self.samples(free_s)
        z = NORMAL.inv_cdf(inside(float(self._rng("free", at).random())))
        within = (MIN_CHANGE_S, human.longest_gap_s)
        return self.samples(max(free_s, log_normal(z, human.gap_median_s, human.gap_sigma, within)))

    def _rng(self, purpose: str, at: int) -> np.random.Generator:
        return rng_for(self.seed, self.index, f"closed loop/{purpose}/{at // self.micro_turn}")
