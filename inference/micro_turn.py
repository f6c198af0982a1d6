"""The two carriers of a micro-turn between socket and model: its input and its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MicroTurnIn:
    """Input of one session in one micro-turn."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) of the microphone
    text_in: Sequence[int] = ()  # up to text_in_positions ids
    missing_input: bool = False  # the audio did not arrive in time: the model reads `<late>`
    video: NDArray[np.uint8] | None = None  # (H, W, 3) the newest frame; None: black


@dataclass(frozen=True, kw_only=True)
class MicroTurnOut:
    """Output of one session in one micro-turn; token ids without `<idle>`."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) to be played in the next micro-turn
    heard: list[int]
    say: list[int]
