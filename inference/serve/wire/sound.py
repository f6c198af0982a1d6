"""Sound at the edge of a connection: 16-bit PCM of the client's rate to and from the layout's.

The resampler is a linear-phase low-pass filter of 16 zero crossings to each side (Kaiser window),
so it delays by 16 samples of the slower rate, which is 1 ms at 16 kHz, each way. Equal rates pass
through untouched. Its state is a value that a copy continues, and the pieces in which sound comes
do not change a bit of it.
"""

from __future__ import annotations

from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, upfirdn

from microturn.inference.audio import PCM16_BYTES, decode_pcm16, encode_pcm16
from microturn.model.streams.pcm import Audio

_ZERO_CROSSINGS: Final = 16  # of the filter, to each side
_KAISER_BETA: Final = 6.0  # side lobes are 60 dB down


class StreamResampler:
    """A resampler from `rate` to `new_rate` Hz, whole seconds of which share a divisor."""

    def __init__(self, *, rate: int, new_rate: int) -> None:
        common = gcd(rate, new_rate)
        self._up, self._down = new_rate // common, rate // common
        longest = max(self._up, self._down)
        self.delay_s = _ZERO_CROSSINGS / min(rate, new_rate) if longest > 1 else 0.0
        self._taps = _low_pass(longest) * np.float32(self._up)
        # Whole periods of the ratio that the filter looks back, then samples of the next period.
        n_before = -(-len(self._taps) // (self._up * self._down)) * self._down
        self._before = np.zeros(n_before, np.float32)
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: Audio) -> Audio:
        """Return the samples at the new rate that these complete; their number is not constant."""
        if self._up == self._down:
            return samples
        waiting = np.concatenate([self._rest, samples])
        n = len(waiting) // self._down * self._down
        block = np.concatenate([self._before, waiting[:n]])
        self._rest, self._before = waiting[n:], block[len(block) - len(self._before) :]
        skip = len(self._before) * self._up // self._down
        made: Audio = upfirdn(self._taps, block, self._up, self._down)
        return made[skip : skip + n * self._up // self._down].astype(np.float32, copy=False)


def _low_pass(factor: int) -> NDArray[np.float32]:
    """Return the taps of a filter that keeps 1 / factor of the band; 1 keeps everything."""
    if factor == 1:
        return np.ones(1, np.float32)
    n_taps = 2 * _ZERO_CROSSINGS * factor + 1
    taps = firwin(n_taps, 1 / factor, window=("kaiser", _KAISER_BETA))
    return np.asarray(taps, np.float32)


class MicrophoneSound:
    """What the client sends, cut into micro-turns at the rate of the layout."""

    def __init__(self, *, rate: int, layout_rate: int, samples_per_micro_turn: int) -> None:
        self._resampler = StreamResampler(rate=rate, new_rate=layout_rate)
        self._size = samples_per_micro_turn
        self._waiting = np.zeros(0, np.float32)
        self.n_samples = 0  # of the client so far

    def push(self, data: bytes, *, muted: bool) -> list[Audio]:
        """Return the micro-turns that this piece completes, silent if muted.

        Raises ValueError for a part of a sample.
        """
        if len(data) % PCM16_BYTES:
            raise ValueError(
                f"{len(data)} bytes are no whole number of 16-bit samples; send little-endian PCM16"
            )
        samples = decode_pcm16(data)
        self.n_samples += len(samples)
        new = self._resampler.push(np.zeros_like(samples) if muted else samples)
        waiting = np.concatenate([self._waiting, new])
        n_whole = len(waiting) // self._size
        self._waiting = waiting[n_whole * self._size :]
        return [waiting[k * self._size : (k + 1) * self._size].copy() for k in range(n_whole)]


class LoudspeakerSound:
    """What the agent says, as the client wants it."""

    def __init__(self, *, rate: int, layout_rate: int) -> None:
        self.rate = rate
        self._resampler = StreamResampler(rate=layout_rate, new_rate=rate)

    def push(self, samples: Audio) -> bytes:
        return encode_pcm16(self._resampler.push(samples))
