"""Line faults of a microphone signal: clipping, clock drift, telephone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from scipy.signal import firwin, upfirdn

from microturn.datagen.acoustics import g711
from microturn.datagen.acoustics.mix import Filter
from microturn.datagen.labels.setting import LineLabel, TelephoneLabel
from microturn.model.streams.pcm import Audio, from_pcm16, to_pcm16

TAPS: Final = 32  # of the interpolation between samples
PHASES: Final = 2048  # positions between two samples at which it is tabulated
BAND_TAPS: Final = 161  # of the telephone band, at its own rate
HALF_TAPS: Final = 49  # of the resampling to half the rate and back; its delay is 24 samples
# Samples on either side that a sample of the telephone depends on.
TELEPHONE_REACH: Final = 2 * (HALF_TAPS // 2) + 2 * (BAND_TAPS // 2)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The drawn faults of a line; None for a fault that it does not have."""

    clip_db: float | None = None
    drift_ppm: float | None = None
    law: str | None = None  # of the telephone
    telephone_hz: tuple[float, float] = (300.0, 3400.0)

    @property
    def is_clean(self) -> bool:
        return self.clip_db is None and self.drift_ppm is None and self.law is None

    def label(self) -> LineLabel:
        telephone = None
        if self.law is not None:
            telephone = TelephoneLabel(law=self.law, hz=self.telephone_hz, sample_rate=8000)
        return LineLabel(clip_db=self.clip_db, drift_ppm=self.drift_ppm, telephone=telephone)


def through(line: Line, audio: Audio, *, sample_rate: int) -> Audio:
    """Return the signal at the other end of a line; same length."""
    if line.clip_db is not None:
        audio = clipped(audio, line.clip_db)
    if line.drift_ppm is not None:
        audio = drifted(audio, line.drift_ppm)
    if line.law is not None:
        audio = telephoned(audio, line.law, band_hz=line.telephone_hz, sample_rate=sample_rate)
    return audio


def clipped(audio: Audio, over_db: float, *, peak: float | None = None) -> Audio:
    """Clip the signal at `over_db` below its peak, or below that of the whole it is part of."""
    top = np.abs(audio).max(initial=0.0) if peak is None else peak
    limit = np.float32(top * 10 ** (-over_db / 20))
    cut: Audio = np.clip(audio, -limit, limit)
    return cut


def drifted(audio: Audio, ppm: float) -> Audio:
    """Resample to a clock that is `ppm` millionths slow: sample n is taken at n * (1 + ppm).

    Both clocks agree at sample 0. A windowed sinc interpolates between samples.
    """
    return drifted_part(padded_for_drift(audio, ppm), ppm, first=0, last=len(audio))


def padded_for_drift(audio: Audio, ppm: float) -> Audio:
    """Return a signal with the silence around it that `drifted_part` may reach into."""
    n = len(audio)
    beyond = TAPS + max(0, int(n * ppm * 1e-6) + 1)
    return np.concatenate([np.zeros(TAPS, np.float32), audio, np.zeros(beyond, np.float32)])


def drifted_part(padded: Audio, ppm: float, *, first: int, last: int) -> Audio:
    """Return samples `first` to `last` of a signal on the other clock.

    Long runs of samples share the integer part of the shift, so that their windows are views.
    """
    step = 1.0 + ppm * 1e-6
    windows = np.lib.stride_tricks.sliding_window_view(padded, TAPS)
    table, out = _interpolators(), np.zeros(last - first, np.float32)
    start = first
    while start < last:
        shift = int(np.floor(start * step)) - start
        end = _same_shift(start, shift, step, last)
        position = np.arange(start, end) * step - np.arange(start + shift, end + shift)
        phase = np.clip(np.rint(position * PHASES), 0, PHASES).astype(np.intp)
        at = start + shift + TAPS // 2 + 1  # of the window, in padded samples
        part = np.einsum("nt,nt->n", windows[at : at + end - start], table[phase])
        out[start - first : end - first] = part
        start = end
    return out


def _same_shift(start: int, shift: int, step: float, n: int) -> int:
    """Return the sample at which the integer part of the shift changes; at most 4096 ahead."""
    end = min(start + 4096, n)
    if int(np.floor((end - 1) * step)) - (end - 1) == shift:
        return end
    samples = np.arange(start, end)
    return start + int(np.argmax(np.floor(samples * step).astype(np.int64) - samples != shift))


@cache
def _interpolators() -> Audio:
    """Return the taps of every phase, (PHASES + 1, TAPS), each row summing to 1."""
    phase = np.arange(PHASES + 1)[:, None] / PHASES
    distance = np.arange(TAPS)[None, :] - (TAPS // 2 - 1) - phase
    window = np.cos(np.pi * distance / (TAPS + 2)) ** 2
    taps = np.sinc(distance) * window
    table: Audio = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


def telephoned(audio: Audio, law: str, *, band_hz: tuple[float, float], sample_rate: int) -> Audio:
    """Apply half the rate, the telephone band and G.711; the filters' delay is removed."""
    if sample_rate != 16_000:
        raise ValueError(
            f"a telephone needs layout.sample_rate=16000, twice its own, not {sample_rate}; set "
            "acoustics.line.telephone_probability=0"
        )
    n, half = len(audio), _half_band()
    # An even delay, so that it is a whole number of samples at half the rate.
    narrow = upfirdn(half, audio, up=1, down=2)[HALF_TAPS // 4 :][: -(-n // 2)]
    narrow = _band(*band_hz, sample_rate // 2)(narrow)
    received = from_pcm16(g711.through(to_pcm16(narrow), law))
    wide = upfirdn(half * np.float32(2.0), received, up=2)
    out: Audio = wide[HALF_TAPS // 2 :][:n].astype(np.float32)
    return out


@cache
def _half_band() -> Audio:
    """Return the taps of the anti-aliasing filter for half the rate."""
    taps: Audio = firwin(HALF_TAPS, 0.475, window=("kaiser", 5.0)).astype(np.float32)
    return taps


@cache
def _band(low_hz: float, high_hz: float, sample_rate: int) -> Filter:
    taps = firwin(BAND_TAPS, [low_hz, high_hz], pass_zero=False, fs=sample_rate)
    return Filter(taps.astype(np.float32), delay=BAND_TAPS // 2)
