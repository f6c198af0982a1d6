"""Mixes separate sources into one microphone: convolution, levels, noise, echo, silence.

A stem is the contribution of one source to the microphone; the stems sum to the microphone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.signal import firwin

from microturn.model.streams.levels import squared
from microturn.model.streams.pcm import Audio, Pcm16, to_pcm16

FFT_SIZE = 16_384
FRAMES_AT_ONCE = 8  # as many as stay in the core's cache with their spectra
LOW_PASS_TAPS = 65
LOW_PASS_STEP_HZ = 200  # cutoffs are rounded to this, so that few filters are needed
MAX_PEAK = 0.98


@lru_cache(maxsize=64)
def low_pass(cutoff_hz: int, sample_rate: int) -> Audio:
    """Return a short linear-phase low-pass; all-pass from 95 % of the Nyquist frequency on."""
    nyquist = sample_rate / 2
    if cutoff_hz >= 0.95 * nyquist:
        passing = np.zeros(LOW_PASS_TAPS, np.float32)
        passing[LOW_PASS_TAPS // 2] = 1.0
        return passing
    taps: Audio = firwin(LOW_PASS_TAPS, cutoff_hz / nyquist).astype(np.float32)
    return taps


class Filter:
    """One impulse response with its spectrum, applied by overlap-add to blocks that sound."""

    def __init__(self, response: Audio, *, delay: int = 0) -> None:
        if len(response) > FFT_SIZE // 2:
            raise ValueError(
                f"a response of {len(response)} samples is longer than {FFT_SIZE // 2}; cut it off"
            )
        self.n_taps = len(response)
        self.delay = delay  # samples by which the response lags, compensated here
        self._spectrum = fft.rfft(response, FFT_SIZE)
        taps = np.flatnonzero(response)
        self._changes_nothing = taps.tolist() == [delay] and response[delay] == 1.0

    def __call__(self, audio: Audio) -> Audio:
        """Return filtered audio of the same length."""
        if self._changes_nothing:
            return audio.copy()
        n, block = len(audio), FFT_SIZE - self.n_taps + 1
        n_whole, tail = n // block, self.n_taps - 1
        whole = audio[: n_whole * block].reshape(n_whole, block)
        places = np.flatnonzero(np.append(whole.any(axis=1), True))
        out = np.zeros((n_whole + 2, block), np.float32)
        for first in range(0, len(places), FRAMES_AT_ONCE):
            some = places[first : first + FRAMES_AT_ONCE]
            frames = np.zeros((len(some), FFT_SIZE), np.float32)
            inner = some[some < n_whole]
            frames[: len(inner), :block] = whole[inner]
            if len(inner) < len(some):
                frames[-1, : n - n_whole * block] = audio[n_whole * block :]
            spectra = fft.rfft(frames, FFT_SIZE, axis=1)
            spectra *= self._spectrum
            filtered = fft.irfft(spectra, FFT_SIZE, axis=1)
            out[some] += filtered[:, :block]
            out[some + 1, :tail] += filtered[:, block:]
        return out.reshape(-1)[self.delay : self.delay + n]


def joined(room: Audio, band: Audio) -> Filter:
    """Combine a room response and a band limit in one filter, without the latter's delay."""
    return Filter(np.convolve(room, band).astype(np.float32), delay=len(band) // 2)


def active_power(audio: Audio, spans: Sequence[tuple[int, int]]) -> float:
    """Return the mean square over spans of samples; 0 without spans."""
    total = sum(float(np.sum(squared(audio[a:b]))) for a, b in spans)
    n = sum(b - a for a, b in spans)
    return total / n if n else 0.0


def noise_gain(user_power: float, noise_power: float, *, snr_db: float) -> float:
    """Return the gain that brings a noise to an SNR."""
    return float(np.sqrt(user_power / (max(noise_power, 1e-20) * 10 ** (snr_db / 10))))


def delayed(audio: Audio, n: int, *, gain_db: float) -> Audio:
    """Return a copy delayed by `n` samples, with a gain."""
    copy = np.zeros_like(audio)
    copy[n:] = audio[: len(audio) - n] * np.float32(10 ** (gain_db / 20))
    return copy


class Mixture:
    """The microphone signal, summed source by source.

    `silence` is the array that represents a silent source. keep=True keeps all sources as stems;
    otherwise only that of the user's voice.
    """

    def __init__(self, voice: Audio, *, silence: Audio, keep: bool) -> None:
        self.total = voice
        self.stems = {"user": voice}
        self._silence = silence
        self._keep = keep

    def add(self, name: str, stem: Audio) -> None:
        if stem is not self._silence:
            if self.total is self.stems["user"]:
                self.total = self.total + stem  # a new array: the voice is a stem
            else:
                self.total += stem
        if self._keep:
            self.stems[name] = stem

    def zero(self, spans: Sequence[tuple[int, int]]) -> None:
        """Silence the sources added so far in spans of samples."""
        for start, end in spans:
            for audio in self._sounding():
                audio[start:end] = 0.0

    def limit(self) -> np.float32:
        """Scale all sources down together if their sum would clip; returns the gain."""
        peak = float(max(self.total.max(), -self.total.min())) if len(self.total) else 0.0
        gain = np.float32(MAX_PEAK / peak if peak > MAX_PEAK else 1.0)
        if gain < 1.0:
            for audio in self._sounding():
                audio *= gain
        return gain

    def _sounding(self) -> list[Audio]:
        """Return every non-silent array once: with a single source, stem and sum are the same."""
        arrays = {id(audio): audio for audio in (self.total, *self.stems.values())}
        return [audio for audio in arrays.values() if audio is not self._silence]


def to_pcm16_within(audio: Audio, spans: Sequence[tuple[int, int]]) -> Pcm16:
    """16-bit samples of audio that is known to be silent outside of `spans`."""
    pcm = np.zeros(len(audio), np.int16)
    for start, end in spans:
        pcm[start:end] = to_pcm16(audio[start:end])
    return pcm
