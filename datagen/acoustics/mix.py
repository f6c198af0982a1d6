"""From separate sources to one microphone: convolution, levels, noise, echo, silence.

Stems are what each source adds to the microphone; their sum is the microphone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.signal import firwin

Audio = npt.NDArray[np.float32]
FFT_SIZE = 16_384
LOW_PASS_TAPS = 65
LOW_PASS_STEP_HZ = 200  # band limits are rounded to this, so that filters are few
LARGEST_PEAK = 0.98


@lru_cache(maxsize=64)
def low_pass(cutoff_hz: int, sample_rate: int) -> Audio:
    """A short linear-phase low-pass; all-pass at and above 95 % of the Nyquist frequency."""
    nyquist = sample_rate / 2
    if cutoff_hz >= 0.95 * nyquist:
        passing = np.zeros(LOW_PASS_TAPS, np.float32)
        passing[LOW_PASS_TAPS // 2] = 1.0
        return passing
    taps: Audio = firwin(LOW_PASS_TAPS, cutoff_hz / nyquist).astype(np.float32)
    return taps


class Filter:
    """One response with its spectrum, applied by overlap-add to the blocks that sound."""

    def __init__(self, response: Audio, *, delay: int = 0) -> None:
        if len(response) > FFT_SIZE // 2:
            raise ValueError(f"a response of {len(response)} samples is too long to be a room")
        self.n_taps = len(response)
        self._delay = delay  # samples by which the response lags, taken back here
        self._spectrum = fft.rfft(response, FFT_SIZE)
        taps = np.flatnonzero(response)
        self._changes_nothing = taps.tolist() == [delay] and response[delay] == 1.0

    def __call__(self, audio: Audio) -> Audio:
        """Filtered audio of the same length."""
        if self._changes_nothing:
            return audio.copy()
        n, block = len(audio), FFT_SIZE - self.n_taps + 1
        n_blocks = -(-n // block)
        padded = np.zeros(n_blocks * block, np.float32)
        padded[:n] = audio
        blocks = padded.reshape(n_blocks, block)
        sounding = np.flatnonzero(blocks.any(axis=1))
        out = np.zeros(n_blocks * block + self.n_taps + self._delay, np.float32)
        if len(sounding):
            spectra = fft.rfft(blocks[sounding], FFT_SIZE, axis=1)
            spectra *= self._spectrum
            filtered = fft.irfft(spectra, FFT_SIZE, axis=1)
            for i, row in zip(sounding, filtered, strict=True):
                out[i * block : i * block + FFT_SIZE][: len(row)] += row[: len(out) - i * block]
        return out[self._delay : self._delay + n]


def joined(room: Audio, band: Audio) -> Filter:
    """A room and a band limit in one filter, without the delay of the latter."""
    return Filter(np.convolve(room, band).astype(np.float32), delay=len(band) // 2)


def active_power(audio: Audio, spans: Sequence[tuple[int, int]]) -> float:
    """Mean square over spans of samples; 0 where there are none."""
    total = sum(float(np.sum(np.square(audio[a:b], dtype=np.float64))) for a, b in spans)
    n = sum(b - a for a, b in spans)
    return total / n if n else 0.0


def noise_gain(user_power: float, noise_power: float, snr_db: float) -> float:
    """Gain of a noise that brings it to an SNR."""
    return float(np.sqrt(user_power / (max(noise_power, 1e-20) * 10 ** (snr_db / 10))))


def delayed(audio: Audio, n: int, gain_db: float) -> Audio:
    """A weaker copy that comes later."""
    copy = np.zeros_like(audio)
    copy[n:] = audio[: len(audio) - n] * np.float32(10 ** (gain_db / 20))
    return copy


def limit(stems: dict[str, Audio], total: Audio | None = None) -> dict[str, Audio]:
    """Turn all sources down together where their sum, `total`, would clip."""
    total = mixed(stems) if total is None else total
    peak = float(max(total.max(), -total.min())) if len(total) else 0.0
    if peak <= LARGEST_PEAK:
        return stems
    gain = np.float32(LARGEST_PEAK / peak)
    return {name: stem * gain for name, stem in stems.items()}


def mixed(stems: dict[str, Audio], *, silence: Audio | None = None) -> Audio:
    """The sum of all stems; those that are the array `silence` are known to add nothing."""
    first, *others = stems.values()
    total = first.copy()
    for stem in others:
        if stem is not silence:
            total += stem
    return total


def to_pcm(audio: Audio) -> npt.NDArray[np.int16]:
    """16-bit samples."""
    scaled = audio * np.float32(32768.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    return scaled.astype(np.int16)


def from_pcm(pcm: npt.NDArray[np.int16]) -> Audio:
    """What a decoder gives back for `to_pcm`."""
    audio: Audio = pcm.astype(np.float32) / np.float32(32768.0)
    return audio
