"""A model of rules: it hears words, delegates, says results and gives way.

A model that can do that takes minutes of training, so rules stand in for it where server, engine,
conversation, agent and client are what matters. `HEARD` are the words that it hears, one for each
stretch of sound; after the last one it delegates. A result it says `REPEATS` times, until it is
interrupted by sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint
from microturn.model.streams import BG, BG_END, DELEGATE, EOS

HEARD: Final = ("eight", "plus", "three")
MOMENT: Final = ("one", "moment", "please")
REPEATS: Final = 20
TONE: Final = 0.25
_LOUD: Final = 0.01  # RMS of a micro-turn with sound


class RuledBatch(RowBatch):
    """One row that follows the rules above."""

    def __init__(self, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(checkpoint, 1)
        self.reset(0)

    def reset(self, row: int, opened: object = None) -> None:
        self.was_loud, self.n_heard = False, 0
        self.result: list[int] | None = None  # ids of one that is being read
        self.to_say: list[list[int]] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        if not inputs:
            return {}
        micro_turn = inputs[0]
        loud = float(np.sqrt(np.mean(np.square(micro_turn.audio)))) > _LOUD
        heard, say = self._hear(loud), self._say(micro_turn.text_in, loud)
        size = self.layout.samples_per_micro_turn
        sound = np.full(size, TONE if say and say != [EOS] else 0.0, np.float32)
        return {0: MicroTurnOut(audio=sound, tokens={"heard": heard, "say": say})}

    def _hear(self, loud: bool) -> list[int]:
        begins, self.was_loud = loud and not self.was_loud, loud
        if not begins or self.n_heard == len(HEARD):
            return []
        self.n_heard += 1
        if self.n_heard == len(HEARD):
            first, *rest = (self.tokenizer.encode(word) for word in MOMENT)
            self.to_say = [[DELEGATE, *first], *rest]
        return self.tokenizer.encode(HEARD[self.n_heard - 1])

    def _say(self, text_in: Sequence[int], loud: bool) -> list[int]:
        for token_id in text_in:
            if token_id == BG:
                self.result = []
            elif token_id == BG_END and self.result is not None:
                self.to_say += [self.result] * REPEATS
                self.result = None
            elif self.result is not None:
                self.result.append(token_id)
        if len(self.to_say) > len(MOMENT) and loud:  # interrupted in a result
            self.to_say = []
            return [EOS]
        return self.to_say.pop(0) if self.to_say else []


class HearingBatch(RuledBatch):
    """Hears the first word again in each stretch of sound after the last one of the rules."""

    def _hear(self, loud: bool) -> list[int]:
        begins = loud and not self.was_loud
        return super()._hear(loud) or (self.tokenizer.encode(HEARD[0]) if begins else [])


def ruled_checkpoint() -> LoadedCheckpoint:
    """Words and layout of the rules; the network of it is not used."""
    words = (*HEARD, *MOMENT, "eleven", "twelve", "you", "are", "kind")
    return random_checkpoint(5, words=words)
