"""When the agent acts: fixed rules, so that a model can learn them and a score can judge them.

Micro-turn k is heard in [k, k + 1) micro-turns of wall clock, and what it decides is played
during [k + 1, k + 2). Every rule returns the index of the micro-turn in which sound is *played*
and uses nothing that a listener does not know one micro-turn earlier.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from microturn.model.streams.layout import StreamLayout

YIELD_S: Final = Fraction(2, 5)  # the agent falls silent at the first boundary this long after
MIN_WORD_GAP_S: Final = Fraction(1, 25)  # silence between two words of the agent
RESPOND_S: Final = Fraction(4, 5)  # an answer counts up to this long after the turn
STOP_S: Final = Fraction(4, 5)  # the agent must be silent this long after an interruption begins
CUE_EARLY_S: Final = Fraction(1, 5)
CUE_LATE_S: Final = Fraction(1)
RESULT_S: Final = Fraction(1)  # a result is said within this time once the floor is free
LISTEN_S: Final = Fraction(1)  # a backchannel is said within this time of a listening point
OVER_S: Final = Fraction(3, 2)  # said over the user, after a spoken cue or a mistake
TRANSLATE_S: Final = Fraction(2)  # a word is translated within this time of its end


class Rules:
    """The timing rules on the clock of one layout; all results are samples or micro-turns."""

    def __init__(self, layout: StreamLayout, *, agent_on_grid: bool = True) -> None:
        self.step = layout.samples_per_micro_turn
        self.rate = layout.sample_rate
        self.on_grid = agent_on_grid
        self._word_gap = self.samples(MIN_WORD_GAP_S)

    def samples(self, seconds: float | Fraction) -> int:
        if isinstance(seconds, Fraction):  # arithmetic of fractions is slow
            whole, rest = divmod(seconds.numerator * self.rate, seconds.denominator)
            if not rest:
                return whole
        return round(seconds * self.rate)

    def boundary(self, micro_turn: int) -> int:
        """First sample of a micro-turn."""
        return micro_turn * self.step

    def next_boundary(self, sample: int) -> int:
        """Index of the first micro-turn that begins at or after a sample."""
        return -(-sample // self.step)

    def reply(self, turn_end: int) -> int:
        """A turn that ends in micro-turn m is answered in m + 2: 0.2 to 0.4 s later."""
        return (turn_end - 1) // self.step + 2

    def give_way(self, onset: int, after: float | Fraction = YIELD_S) -> int:
        """First silent micro-turn after the user has taken the floor at `onset`."""
        return self.next_boundary(onset + self.samples(after))

    def cue(self, turn_end: int, seconds: int) -> int:
        """First micro-turn that begins at or after `seconds` past the end of the request."""
        return self.next_boundary(turn_end + self.samples(seconds))

    def next_word(self, word_end: int) -> int:
        """Start sample of the agent's next word after one that ends at `word_end`."""
        earliest = word_end + self._word_gap
        return self.boundary(self.next_boundary(earliest)) if self.on_grid else earliest

    def follow(self, heard_end: int, said_end: int) -> int:
        """An answer to what ended at `heard_end`, but not into the agent's own last word."""
        after = self.next_word(said_end) if said_end else 0
        return max(self.reply(heard_end), self.next_boundary(after))

    def free(self, agent_end: int) -> int:
        """First micro-turn for a new utterance after the agent has finished one."""
        return self.next_boundary(agent_end) + 1
