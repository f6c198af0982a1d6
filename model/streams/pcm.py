"""Audio in memory and as 16-bit samples: float32 in [-1, 1), one step is 1/32768."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
Pcm16 = NDArray[np.int16]

PCM16_SCALE: Final = 32768.0
PCM16_MIN: Final = -32768
PCM16_MAX: Final = 32767


def to_pcm16(audio: NDArray[np.floating[Any]]) -> Pcm16:
    """Round to the nearest step, half to even; clip rather than wrap.

    `from_pcm16` values come back as they were, and 1.0 as 32767.
    """
    scaled = audio * np.float32(PCM16_SCALE)
    np.rint(scaled, out=scaled)
    np.clip(scaled, PCM16_MIN, PCM16_MAX, out=scaled)
    return scaled.astype(np.int16)


def from_pcm16(pcm: Pcm16) -> Audio:
    """Return the float32 samples that 16-bit ones stand for, exactly."""
    return pcm.astype(np.float32) / np.float32(PCM16_SCALE)
