"""The agent's echo in the user's microphone: loudspeaker, room, and echo canceller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.acoustics import mix
from microturn.datagen.labels.setting import EchoPathLabel
from microturn.model.streams.pcm import Audio

ACTIVE_DB: Final = -50.0  # re full scale: the canceller adapts above this level
ACTIVE_STEP: Final = 160  # samples over which the level is measured
LOUD: Final = 0.25  # a loudspeaker with a drive of 1 compresses samples of this size by a fourth


@dataclass(frozen=True, kw_only=True)
class EchoPath:
    """The drawn properties of an echo through a room."""

    drive: float = 0.0  # of the loudspeaker; 0 is linear
    erle_db: float | None = None  # of the converged canceller; None: no canceller
    converge_s: float = 0.0
    taps_ms: float = 0.0

    def label(self, *, loudspeaker_m: float, lag_ms: float) -> EchoPathLabel:
        return EchoPathLabel(
            drive=self.drive,
            erle_db=self.erle_db,
            converge_s=None if self.erle_db is None else self.converge_s,
            taps_ms=None if self.erle_db is None else self.taps_ms,
            loudspeaker_m=loudspeaker_m,
            lag_ms=lag_ms,
        )


class Loudspeaker:
    """A loudspeaker position: its full response, and the part that a canceller models."""

    def __init__(self, response: Audio, *, taps: int) -> None:
        self._room = mix.Filter(response)
        self._known = mix.Filter(response[:taps])

    def echo(self, agent: Audio, path: EchoPath, *, sample_rate: int) -> Audio:
        """Return the agent's echo at the microphone, before delay and gain.

        The canceller is linear and short: the distortion of the loudspeaker and the echo after its
        last tap remain, and of the rest the part that it has not yet adapted to.
        """
        echo = self._room(driven(agent, path.drive))
        if path.erle_db is None:
            return echo
        residual: Audio = echo - learned(agent, path, sample_rate=sample_rate) * self._known(agent)
        return residual


def driven(audio: Audio, drive: float) -> Audio:
    """Apply the compressive distortion of a loudspeaker."""
    if drive == 0.0:
        return audio
    slope = np.float32(drive / LOUD)
    distorted: Audio = np.tanh(audio * slope) / slope
    return distorted


def active_steps(audio: Audio) -> npt.NDArray[np.bool_]:
    """Return which stretches of `ACTIVE_STEP` samples are louder than `ACTIVE_DB`."""
    n = -(-len(audio) // ACTIVE_STEP)
    padded = np.zeros(n * ACTIVE_STEP, np.float32)
    padded[: len(audio)] = audio
    power = np.square(padded.reshape(n, ACTIVE_STEP)).mean(axis=1)
    active: npt.NDArray[np.bool_] = power > 10 ** (ACTIVE_DB / 10)
    return active


def learned(agent: Audio, path: EchoPath, *, sample_rate: int, n_before: int = 0) -> Audio:
    """Return the gain of the canceller's echo estimate; it adapts while the agent speaks.

    `n_before` steps were active before the audio begins.
    """
    assert path.erle_db is not None
    active_s = (n_before + np.cumsum(active_steps(agent))) * (ACTIVE_STEP / sample_rate)
    erle_db = path.erle_db * (1.0 - np.exp(-active_s / max(path.converge_s, 1e-3)))
    gain = (1.0 - 10 ** (-erle_db / 20)).astype(np.float32)
    return np.repeat(gain, ACTIVE_STEP)[: len(agent)]
