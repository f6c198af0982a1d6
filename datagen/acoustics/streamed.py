"""Filters and echo of sound that comes block by block; equal to those of whole recordings."""

from __future__ import annotations

import numpy as np
from scipy import fft

from microturn.datagen.acoustics.echo import EchoPath, active_steps, driven, learned
from microturn.model.streams.pcm import Audio


class StreamedFilter:
    """An impulse response by overlap-add: what rings on after a block is carried to the next."""

    def __init__(self, response: Audio, *, block: int) -> None:
        self._block = block
        self._size = fft.next_fast_len(block + len(response) - 1, real=True)
        self._spectrum = fft.rfft(response, self._size)
        self._tail = np.zeros(len(response) - 1, np.float32)

    def __call__(self, audio: Audio) -> Audio:
        """Filter the next block (T,)."""
        n_tail = len(self._tail)
        wet = np.zeros(self._block + n_tail, np.float32)
        if audio.any():
            spectrum = fft.rfft(audio, self._size)
            spectrum *= self._spectrum
            wet[:] = fft.irfft(spectrum, self._size)[: len(wet)]
        wet[:n_tail] += self._tail
        self._tail = wet[self._block :].copy()
        return wet[: self._block]


class StreamedEcho:
    """What a microphone hears of an agent whose sound is not known beforehand."""

    def __init__(
        self,
        response: Audio,
        path: EchoPath | None,
        *,
        gain_db: float,
        lag: int,
        sample_rate: int,
        block: int,
    ) -> None:
        """Without a path the echo is a copy; `lag` is in samples, `response` that of the room."""
        self._path, self._rate = path, sample_rate
        self._gain = np.float32(10 ** (gain_db / 20))
        self._coming = np.zeros(lag, np.float32)  # has been played and will be heard
        self._n_active = 0
        if path is not None:
            taps = max(1, round(path.taps_ms * sample_rate / 1000))
            self._room = StreamedFilter(response, block=block)
            self._known = StreamedFilter(response[:taps], block=block)

    def __call__(self, agent: Audio) -> Audio:
        """Return the echo in the next block (T,) while the agent plays it."""
        self._coming = np.concatenate([self._coming, self._reflected(agent) * self._gain])
        heard, self._coming = self._coming[: len(agent)], self._coming[len(agent) :]
        return heard

    def _reflected(self, agent: Audio) -> Audio:
        path = self._path
        if path is None:
            return agent
        echo = self._room(driven(agent, path.drive))
        if path.erle_db is None:
            return echo
        part = learned(agent, path, sample_rate=self._rate, n_before=self._n_active)
        self._n_active += int(active_steps(agent).sum())
        residual: Audio = echo - part * self._known(agent)
        return residual
