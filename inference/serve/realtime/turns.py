"""Turns, which the protocol has and the model has not: when somebody begins and stops to speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from microturn.inference.conversation import ConversationEvent, WordEvent
from microturn.model.streams import CONTROL_TOKENS, EOS
from microturn.model.streams.pcm import Audio

AGENT_QUIET: Final = 5  # micro-turns without a word and without sound: it has stopped
USER_QUIET: Final = 6  # without a word; they are written when a word has ended, and late
AFTER_EOS: Final = 2  # are enough where the model says that it is done
_QUIET_RMS: Final = 0.003  # -50 dB

Turn = Literal["begins", "goes on", "ends", "none"]


class Turns:
    """The turns of one side, each over after `quiet` micro-turns without anything."""

    def __init__(self, *, quiet: int) -> None:
        self._quiet = quiet
        self.is_open = self._is_done = False
        self._left = 0  # micro-turns until it ends, if nothing comes

    def advance(self, ids: Sequence[int], audio: Audio | None = None) -> Turn:
        """Take one micro-turn of the side's text lane, and the agent's sound.

        A word begins a turn, also while the last one, which was done, is still open.
        """
        has_words = any(token_id >= len(CONTROL_TOKENS) for token_id in ids)
        begins = has_words and (self._is_done or not self.is_open)
        if not begins and not self.is_open:
            return "none"
        is_sounding = audio is not None and not self._is_done and _is_loud(audio)
        self._is_done = EOS in ids and ids[-1] == EOS or (self._is_done and not has_words)
        if has_words or is_sounding:
            self._left = self._quiet
        else:
            self._left -= 1
        if self._is_done:
            self._left = min(self._left, AFTER_EOS)
        self.is_open = self._left > 0
        if begins:
            return "begins"
        return "goes on" if self.is_open else "ends"


def _is_loud(audio: Audio) -> bool:
    return float(np.sqrt(np.mean(np.square(audio)))) > _QUIET_RMS


def is_said_from(event: ConversationEvent, micro_turn: int) -> bool:
    """Tell whether an event is a word of the agent in the sound of this micro-turn or a later one.

    A word begins to sound at its boundary, which is in the sound of the micro-turn before.
    """
    match event:
        case WordEvent(word=word):
            return word.side == "agent" and word.micro_turn > micro_turn
    return False
