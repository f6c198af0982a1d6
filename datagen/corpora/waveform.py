"""Waveform operations on single recordings: voiced spans, cuts, resampling, perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import correlate, firwin, resample_poly

from microturn.model.streams.levels import FRAME_S
from microturn.model.streams.pcm import Audio

CUT_REACH_S = 0.05  # largest distance of a cut from its aligned time
CUT_STEP_S = 0.005
SILENT_DB = -28.0  # level of a silence, re the loudest frame
# Two channels are one sound above this correlation at any shift of up to `MAX_SHIFT_S`: voices of
# different people reach 0.30, one voice at two close microphones is above 0.5.
MIN_CORRELATION, MAX_SHIFT_S = 0.4, 0.02
COMPARED_S = 60.0  # of longer files only the beginning
EMPTY_CHANNEL_DB = -30.0  # a channel without a voice is this far below the loudest
LOUD_SHARE = 0.95  # the level of speech is that of its loudest frames but these
CLICK_S = 0.03  # a shorter sound is a click

Span = tuple[int, int]  # samples


def frame_energy(audio: Audio, hop: int) -> npt.NDArray[np.float64]:
    """Return the sum of squares of every `hop` samples; a last part of a frame is left out."""
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop)
    energy: npt.NDArray[np.float64] = np.einsum("ij,ij->i", frames, frames)
    return energy


def voice_spans(audio: Audio, sample_rate: int, *, threshold_db: float, join: int) -> list[Span]:
    """Where the energy of a voice rises above a threshold, re the level of its loud frames.

    Spans that are less than `join` samples apart are one.
    """
    hop = round(FRAME_S * sample_rate)
    spans = loud_frames(frame_energy(audio, hop), threshold_db=threshold_db)
    shortest = round(CLICK_S * sample_rate)
    together = joined([(a * hop, b * hop) for a, b in spans], join)
    return [(a, b) for a, b in together if b - a >= shortest]


def loud_frames(
    energy: npt.NDArray[np.floating[Any]], *, threshold_db: float, at_least: float = 0.0
) -> list[Span]:
    """Return the spans of frames above a threshold re the level of the loud ones.

    `at_least` is an energy that frames exceed in any case, such as that of the noise.
    """
    voiced = energy[energy > 0]
    if not len(voiced):
        return []
    heard = voiced[voiced > voiced.max() * 1e-4]
    loud = float(np.quantile(heard, LOUD_SHARE))
    return spans_of(energy > max(loud * 10 ** (threshold_db / 10), at_least))


def spans_of(active: npt.NDArray[np.bool_]) -> list[Span]:
    """Return the runs of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(a, b) for a, b in edges.reshape(-1, 2).tolist()]


def joined(spans: Sequence[Span], join: int) -> list[Span]:
    """Spans in order, those together that are less than `join` apart."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] < join:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def longest_silence(audio: Audio, sample_rate: int) -> float:
    """Return the length in seconds of the longest silence between louder frames."""
    hop = max(1, round(FRAME_S * sample_rate))
    n = len(audio) // hop
    energy = np.square(audio[: n * hop]).reshape(n, hop).sum(axis=1)
    loud = np.flatnonzero(energy >= energy.max(initial=0.0) * 10 ** (SILENT_DB / 10))
    return float(np.diff(loud).max(initial=1) - 1) * FRAME_S


def only_voice(channels: npt.NDArray[np.float32], sample_rate: int) -> Audio | None:
    """Return the loudest of (n, channels) if the others are empty or the same sound; else None.

    A sum would cancel what is in opposite phase, and mix people who are recorded apart.
    """
    if channels.shape[1] == 1:
        return channels[:, 0]
    energy = np.square(channels, dtype=np.float64).sum(axis=0)
    loudest = int(energy.argmax())
    full = np.flatnonzero(energy > energy[loudest] * 10 ** (EMPTY_CHANNEL_DB / 10))
    shift, begin = round(MAX_SHIFT_S * sample_rate), channels[: round(COMPARED_S * sample_rate)]
    for channel in full[full != loudest]:
        if _correlation(begin[:, loudest], begin[:, channel], shift) < MIN_CORRELATION:
            return None
    return np.ascontiguousarray(channels[:, loudest])


def _correlation(one: Audio, other: Audio, max_shift: int) -> float:
    """Return the largest correlation of two signals, of either sign, over shifts."""
    if np.array_equal(one, other):
        return 1.0
    one, other = one - one.mean(), other - other.mean()
    first = max(0, len(one) - 1 - max_shift)  # the middle is no shift
    products = correlate(one, other, method="fft")[first : len(one) + max_shift]
    power = np.square(one, dtype=np.float64).sum() * np.square(other, dtype=np.float64).sum()
    return float(np.abs(products).max(initial=0.0)) / max(float(power), 1e-20) ** 0.5


def perturb(audio: Audio, factor: float, *, tilt: float) -> Audio:
    """Play a recording `factor` times as fast, which scales its pitch and formants alike."""
    ratio = Fraction(factor).limit_denominator(50)
    moved = resampled(audio, up=ratio.denominator, down=ratio.numerator)
    tilted = moved.astype(np.float32)
    tilted[1:] -= np.float32(tilt) * moved[:-1]
    return tilted


def resampled(audio: Audio, *, up: int, down: int) -> Audio:
    """Resample as `scipy.signal.resample_poly` does, but with a cached filter.

    `up` and `down` have no common divisor.
    """
    if up == down:
        return audio
    taps = _resampling_taps(max(up, down)).astype(audio.dtype)
    moved: Audio = resample_poly(audio, up, down, window=taps)
    return moved


@lru_cache(maxsize=64)
def _resampling_taps(ratio: int) -> npt.NDArray[np.float64]:
    """Return the default taps of `resample_poly`."""
    taps: npt.NDArray[np.float64] = firwin(20 * ratio + 1, 1.0 / ratio, window=("kaiser", 5.0))
    return taps


def quietest_near(audio: Audio, sample: int, *, rate: int) -> int:
    """Return the quietest position near a sample, such as the aligned end of a word."""
    reach, step = round(CUT_REACH_S * rate), round(CUT_STEP_S * rate)
    places = range(max(sample - reach, 0), min(sample + reach, len(audio)) + 1, step)
    if not places:
        return min(sample, len(audio))

    def energy(place: int) -> float:
        near = audio[max(place - step, 0) : place + step]
        return float(np.square(near, dtype=np.float64).sum())

    return min(places, key=lambda place: (energy(place), abs(place - sample)))
