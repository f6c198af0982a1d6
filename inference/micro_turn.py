"""What goes between socket and model: a micro-turn's input and output, and gaps without answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MicroTurnIn:
    """Input of one session in one micro-turn."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) of the microphone
    text_in: Sequence[int] = ()  # up to text_in_positions ids
    missing_input: bool = False  # the audio did not arrive in time: the model reads `<late>`
    # Further given lanes by name, as `Lanes` holds them: the newest frame (H, W, 3) of `video`.
    # A lane that is not in here is idle.
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """`n` micro-turns of a session, one after the other, that get no answer."""

    n: int
    # Their input without text; of more than the model looks back the last so many.
    newest: Sequence[MicroTurnIn]


@dataclass(frozen=True, kw_only=True)
class MicroTurnOut:
    """Output of one session in one micro-turn; token ids without `<idle>`."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) to be played in the next micro-turn
    tokens: Mapping[str, list[int]]  # by lane of tokens that the model makes

    @property
    def heard(self) -> list[int]:
        return self.tokens["heard"]

    @property
    def say(self) -> list[int]:
        return self.tokens["say"]
