"""Filters, echo and line of sound that comes block by block, as of whole recordings."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from microturn.datagen.acoustics.echo import EchoPath, active_steps, driven, learned
from microturn.datagen.acoustics.line import (
    TAPS,
    TELEPHONE_REACH,
    Line,
    clipped,
    drifted_part,
    padded_for_drift,
    telephoned,
)
from microturn.datagen.acoustics.network import Concealment, Network
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

    def ahead(self, n: int) -> Audio:
        """Return what will be heard in the next `n` samples of what has been played (n,)."""
        heard = np.zeros(n, np.float32)
        heard[: len(self._coming)] = self._coming[:n]
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


class StreamedLine:
    """Line and network of a microphone of `n` samples whose sound comes block by block.

    It reads `ahead` samples further than it gives: filters without delay look so far.
    """

    def __init__(self, line: Line, network: Network, *, n: int, peak: float, rate: int) -> None:
        """`peak` is that of the whole signal, against which it is clipped."""
        self._line, self._peak, self._rate = line, peak, rate
        self._sent = self._received = np.zeros(n, np.float32)
        self._n_sent = self._n_received = 0
        self.ahead = 0
        if line.drift_ppm is not None:
            self._padded = padded_for_drift(self._sent, line.drift_ppm)
            self._sent = self._padded[TAPS : TAPS + n]
            self._received = np.zeros(n, np.float32)
            self.ahead += TAPS + math.ceil(n * max(line.drift_ppm, 0.0) * 1e-6)
        if line.law is not None:
            self.ahead += TELEPHONE_REACH
        self._out = np.zeros(n, np.float32)
        self._concealment = Concealment(network.lost, method=network.concealment, sample_rate=rate)

    def __call__(self, microphone: Audio, *, first: int, last: int) -> Audio:
        """Return [first, last) of what is received; the microphone is there up to `ahead` more."""
        line, n = self._line, len(self._out)
        until = min(last + self.ahead, n)
        new = microphone[self._n_sent : until]
        if line.clip_db is not None:
            new = clipped(new, line.clip_db, peak=self._peak)
        self._sent[self._n_sent : until] = new
        self._n_sent = until
        until = min(last + (TELEPHONE_REACH if line.law is not None else 0), n)
        if line.drift_ppm is not None:
            self._received[self._n_received : until] = drifted_part(
                self._padded, line.drift_ppm, first=self._n_received, last=until
            )
        self._n_received = until
        received = self._received[first:last]
        if line.law is not None:
            begin = max(first - 2 * TELEPHONE_REACH, 0)
            received = telephoned(
                self._received[begin:until],
                line.law,
                band_hz=line.telephone_hz,
                sample_rate=self._rate,
            )[first - begin : last - begin]
        self._out[first:last] = received
        self._concealment.fill(self._out, first=first, last=last)
        return self._out[first:last]
