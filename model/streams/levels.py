"""Edges, level and fades of a recording: how a voice comes onto a lane."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams.pcm import Audio

FRAME_S: Final = 0.005  # step of energy measurements, which cover twice as much
MAX_PEAK: Final = 0.89
AGENT_LEVEL_DB: Final = -23.0  # of the agent's voice, re full scale
TRIM_DB: Final = -35.0  # a recording begins and ends where it rises above this, re its peak
AGENT_FADE_S: Final = 0.004
CUT_FADE_S: Final = 0.012  # fade-out of a word that is broken off


def energy_edges(audio: Audio, sample_rate: int, *, threshold_db: float) -> tuple[int, int]:
    """Return the first and last sample at which the level is above the threshold, re its peak."""
    hop = max(1, round(FRAME_S * sample_rate))
    n = len(audio) // hop + 2
    padded = np.zeros((n + 1) * hop)  # a frame of silence before, one or two after
    padded[hop : hop + len(audio)] = audio
    padded *= padded
    squares = padded.reshape(n + 1, hop).sum(axis=1)
    level = squares[:-1] + squares[1:]  # frame i covers samples (i - 1) * hop to (i + 1) * hop
    if not level.any():
        return 0, len(audio)
    loud = np.flatnonzero(level >= level.max() * 10 ** (threshold_db / 10))
    # The quieter half of an edge frame is not speech: move in by half a frame.
    start = max(0, (int(loud[0]) - 1) * hop + hop // 2)
    end = min(len(audio), (int(loud[-1]) + 1) * hop - hop // 2)
    return start, end


def squared(audio: Audio) -> NDArray[np.float64]:
    """Return the squares in double precision; `np.square(dtype=...)` takes three times as long."""
    wide = audio.astype(np.float64)
    wide *= wide
    return wide


def level_gain(audio: Audio, level_db: float) -> np.float32:
    """Return the gain that brings a recording to a level, limited so that peaks fit `MAX_PEAK`."""
    rms = float(np.sqrt(np.mean(squared(audio))))
    if rms == 0.0:
        return np.float32(1.0)
    peak = float(max(audio.max(), -audio.min()))
    return np.float32(min(10 ** (level_db / 20) / rms, MAX_PEAK / peak))


def fade(audio: Audio, n: int) -> None:
    """Fade `n` samples in and out, in place."""
    n = min(n, len(audio) // 2)
    ramp = ((np.arange(n, dtype=np.float32) + 0.5) / max(n, 1)).astype(np.float32)
    audio[:n] *= ramp
    audio[len(audio) - n :] *= ramp[::-1]


def faded_out(audio: Audio, n: int) -> Audio:
    """Return a copy whose last `n` samples fall to silence."""
    faded = audio.copy()
    n = min(n, len(faded))
    faded[len(faded) - n :] *= np.linspace(1.0, 0.0, n, dtype=np.float32)
    return faded
