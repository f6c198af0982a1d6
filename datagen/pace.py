"""How fast two people take turns: times drawn from published laws, spread evenly.

Every kind of time follows its law over the whole set. Within it, a dialogue and each of its
speakers have a tempo: their draws are correlated, and the law stays what it is. Draws walk along a
sequence that fills the unit interval evenly, from dialogue to dialogue and inside each, so that
few dialogues, and short ones, already have the right shares and medians.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Protocol

from microturn.datagen.config import HumanTimingConfig

NORMAL = NormalDist()
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0  # multiples of it spread most evenly of all
# From dialogue to dialogue a purpose walks by the root of its number, so that no two keep step.
ROOTS = {
    "overlaps": 2,
    "tempo": 3,
    "tempo/user": 7,
    "tempo/agent": 13,
    "gap": 6,
    "overlap": 14,
    "pause": 19,
    "backchannel": 21,
    "length": 22,
}
SHORTEST_CHANGE_S = 0.02
SHORTEST_PAUSE_MARGIN_S = 0.03  # a drawn pause is never so short that it is not measured as one


class Numbered(Protocol):
    """What a pace needs of a recipe."""

    @property
    def seed(self) -> int: ...

    @property
    def index(self) -> int: ...

    @property
    def split(self) -> str: ...


@dataclass(kw_only=True)
class Pace:
    """The drawn times of one dialogue, in seconds; a function of seed, split and index."""

    human: HumanTimingConfig
    seed: int
    index: int
    split: str
    _drawn: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Numbered, human: HumanTimingConfig) -> Pace:
        return cls(human=human, seed=recipe.seed, index=recipe.index, split=recipe.split)

    # --- draws -------------------------------------------------------------------------------
    def even(self, purpose: str) -> float:
        """The next of an evenly spread sequence in (0, 1)."""
        n = self._drawn.get(purpose, 0)
        self._drawn[purpose] = n + 1
        return _inside((self._phase(purpose) + (n + 1) * GOLDEN) % 1.0)

    def chance(self, purpose: str, probability: float) -> bool:
        return self.even(purpose) < probability

    def overlaps(self) -> bool:
        """Whether the next change of speaker does."""
        return self.chance("overlaps", self.human.overlapped_changes)

    def gap(self, speaker: str) -> float:
        h = self.human
        seconds = self._log_normal("gap", speaker, h.gap_median_s, h.gap_sigma)
        return min(max(seconds, SHORTEST_CHANGE_S), h.longest_gap_s)

    def overlap(self, speaker: str) -> float:
        h = self.human
        seconds = self._log_normal("overlap", speaker, h.overlap_median_s, h.overlap_sigma)
        return min(max(seconds, SHORTEST_CHANGE_S), h.longest_overlap_s)

    def pause(self, speaker: str) -> float:
        h = self.human
        seconds = self._log_normal("pause", speaker, h.pause_median_s, h.pause_sigma)
        shortest = h.shortest_pause_s + SHORTEST_PAUSE_MARGIN_S
        return min(max(seconds, shortest), h.longest_gap_s)

    def _log_normal(self, purpose: str, speaker: str, median: float, sigma: float) -> float:
        """A draw with the tempo of its dialogue and speaker; all in all it has this law."""
        own = 1.0 - self.human.dialogue_tempo - self.human.speaker_tempo
        z = (
            math.sqrt(self.human.dialogue_tempo) * self._latent("tempo")
            + math.sqrt(self.human.speaker_tempo) * self._latent(f"tempo/{speaker}")
            + math.sqrt(max(own, 0.0)) * NORMAL.inv_cdf(self.even(purpose))
        )
        return median * math.exp(sigma * z)

    def _latent(self, purpose: str) -> float:
        return NORMAL.inv_cdf(_inside(self._phase(purpose)))

    def _phase(self, purpose: str) -> float:
        """Where the sequence of a purpose begins: evenly spread over the dialogues of a set."""
        offset = zlib.crc32(f"{self.seed}/{self.split}/{purpose}".encode()) / 2**32
        return (offset + self.index * math.sqrt(ROOTS[purpose])) % 1.0


def _inside(u: float) -> float:
    return min(max(u, 1e-6), 1.0 - 1e-6)
