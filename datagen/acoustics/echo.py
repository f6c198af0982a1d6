"""The agent in the user's microphone: loudspeaker, room, and what a canceller leaves of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.acoustics import mix

Audio = npt.NDArray[np.float32]
ACTIVE_DB: Final = -50.0  # re full scale: where the canceller has something to learn from
ACTIVE_STEP: Final = 160  # samples over which that is measured
LOUD: Final = 0.25  # a loudspeaker with a drive of 1 bends samples of this size by a fourth


@dataclass(frozen=True, kw_only=True)
class EchoPath:
    """The drawn properties of an echo that comes through a room."""

    drive: float = 0.0  # of the loudspeaker's curve; 0 is a straight line
    erle_db: float | None = None  # what a canceller takes away; None: there is none
    converge_s: float = 0.0
    taps_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "drive": self.drive,
            "erle_db": self.erle_db,
            "converge_s": None if self.erle_db is None else self.converge_s,
            "taps_ms": None if self.erle_db is None else self.taps_ms,
        }


class Loudspeaker:
    """A place from which the agent is heard: its whole response, and the part a canceller knows."""

    def __init__(self, response: Audio, *, taps: int) -> None:
        self._room = mix.Filter(response)
        self._known = mix.Filter(response[:taps])

    def echo(self, agent: Audio, path: EchoPath, sample_rate: int) -> Audio:
        """What the microphone gets of the agent's voice, before delay and gain.

        The canceller is linear and short: what the loudspeaker bends and what comes after its
        last tap stays, and of the rest so much as it has not learned yet.
        """
        heard = self._room(driven(agent, path.drive))
        if path.erle_db is None:
            return heard
        left: Audio = heard - learned(agent, path, sample_rate) * self._known(agent)
        return left


def driven(audio: Audio, drive: float) -> Audio:
    """Through a loudspeaker whose cone goes less far the further it is pushed."""
    if drive == 0.0:
        return audio
    bend = np.float32(drive / LOUD)
    bent: Audio = np.tanh(audio * bend) / bend
    return bent


def learned(agent: Audio, path: EchoPath, sample_rate: int) -> Audio:
    """The gain of the canceller's own echo at every sample; it learns while the agent speaks."""
    assert path.erle_db is not None
    n = -(-len(agent) // ACTIVE_STEP)
    padded = np.zeros(n * ACTIVE_STEP, np.float32)
    padded[: len(agent)] = agent
    power = np.square(padded.reshape(n, ACTIVE_STEP)).mean(axis=1)
    active_s = np.cumsum(power > 10 ** (ACTIVE_DB / 10)) * (ACTIVE_STEP / sample_rate)
    erle_db = path.erle_db * (1.0 - np.exp(-active_s / max(path.converge_s, 1e-3)))
    gain = (1.0 - 10 ** (-erle_db / 20)).astype(np.float32)
    return np.repeat(gain, ACTIVE_STEP)[: len(agent)]
