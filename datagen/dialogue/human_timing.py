"""How fast two people take turns: times drawn from published laws, spread evenly.

Every kind of time follows its law over the whole set. A dialogue and each of its speakers have a
tempo: their gaps are correlated, and the law of all gaps stays what it is. Overlaps and pauses have
none, because the shares of overlap and silence are steered by them: a dialogue in which they were
short would need more of them, and short ones would be too many in the set. Draws walk along a
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
MIN_CHANGE_S = 0.02
MIN_PAUSE_MARGIN_S = 0.03  # a drawn pause is never so short that it is not measured as one


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
        return inside((self._phase(purpose) + (n + 1) * GOLDEN) % 1.0)

    def chance(self, purpose: str, probability: float) -> bool:
        return self.even(purpose) < probability

    def overlaps(self, share: float | None = None) -> bool:
        """Whether the next change of speaker does; `share` in place of that of the set."""
        return self.chance("overlaps", self.human.overlapped_changes if share is None else share)

    def gap(self, speaker: str) -> float:
        """With the tempo of the dialogue and the speaker."""
        h = self.human
        z = (
            math.sqrt(h.dialogue_tempo) * self._latent("tempo")
            + math.sqrt(h.speaker_tempo) * self._latent(f"tempo/{speaker}")
            + math.sqrt(max(1.0 - h.dialogue_tempo - h.speaker_tempo, 0.0)) * self._normal("gap")
        )
        within = (MIN_CHANGE_S, h.longest_gap_s)
        return log_normal(z, h.gap_median_s, h.gap_sigma, within)

    def overlap(self) -> float:
        h = self.human
        within = (MIN_CHANGE_S, h.longest_overlap_s)
        return log_normal(self._normal("overlap"), h.overlap_median_s, h.overlap_sigma, within)

    def pause(self) -> float:
        h = self.human
        within = (h.min_pause_s + MIN_PAUSE_MARGIN_S, h.longest_gap_s)
        return log_normal(self._normal("pause"), h.pause_median_s, h.pause_sigma, within)

    def _normal(self, purpose: str) -> float:
        return NORMAL.inv_cdf(self.even(purpose))

    # --- second thoughts ---------------------------------------------------------------------
    def mark(self) -> dict[str, int]:
        """Where all sequences are, for `rewind`."""
        return dict(self._drawn)

    def rewind(self, mark: dict[str, int]) -> None:
        self._drawn = dict(mark)

    def _latent(self, purpose: str) -> float:
        return NORMAL.inv_cdf(inside(self._phase(purpose)))

    def _phase(self, purpose: str) -> float:
        """Where the sequence of a purpose begins: evenly spread over the dialogues of a set."""
        offset = zlib.crc32(f"{self.seed}/{self.split}/{purpose}".encode()) / 2**32
        return (offset + self.index * math.sqrt(ROOTS[purpose])) % 1.0


def log_normal(z: float, median: float, sigma: float, within: tuple[float, float]) -> float:
    """The value that belongs to a standard normal `z`, within bounds on both sides of the median.

    Each half of the law is squeezed into its bound by itself, so the median stays where it is and
    nothing piles up at the bounds.
    """
    lowest, highest = (NORMAL.cdf(math.log(edge / median) / sigma) for edge in within)
    u = NORMAL.cdf(z)
    u = 0.5 + (u - 0.5) * 2.0 * ((0.5 - lowest) if u < 0.5 else (highest - 0.5))
    return median * math.exp(sigma * NORMAL.inv_cdf(inside(u)))


def inside(u: float) -> float:
    """Keep a share away from 0 and 1, where a normal law has no value."""
    return min(max(u, 1e-6), 1.0 - 1e-6)
