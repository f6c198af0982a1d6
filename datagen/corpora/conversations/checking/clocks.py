"""Clocks that drift: between words and their sound, and between the files of two devices.

Words are compared with the activity of their channel in the first and the last third of them. Two
files are compared where one person is heard on both, by generalised cross-correlation with phase
transform (Knapp and Carter 1976) in windows from all over the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from microturn.datagen.corpora.checking import Unusable
from microturn.datagen.corpora.conversations.checking.activity import (
    Frames,
    active_frames,
    frame_of,
)
from microturn.datagen.corpora.conversations.checking.measured import (
    FRAMES_PER_S,
    MeasuredSound,
    Power,
    sound_of,
)
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.model.streams.pcm import Audio

MAX_WORD_LAG_S: Final = 0.25  # of words re their sound
MAX_WORD_DRIFT_S: Final = 0.2  # of their lag, from the first third to the last
MAX_FILE_DRIFT_S: Final = 0.05  # of two files, over their length
MIN_WORDS: Final = 8  # of a third; with fewer nothing is said
MIN_FIT: Final = 0.4  # correlation of words and activity at the best lag
_REACH_S: Final = 1.0  # largest lag of words that is looked for
_WINDOW_S, _N_WINDOWS, _FILE_REACH_S, _RATE = 3.0, 12, 0.3, 8_000
_PEAK: Final = 8.0  # a peak of the cross-correlation is so many of its deviations high


def check_words_clock(power: Power, words: Sequence[AlignedWord], speaker: str) -> None:
    """Raise Unusable if words come early or late, or more and more so."""
    known = [word for word in words if word.is_known]
    third = len(known) // 3
    if third < MIN_WORDS:
        return
    lags = [
        words_lag_s(power, some, frame_of(some[0].start_s) - 100, frame_of(some[-1].end_s) + 100)
        for some in (known[:third], known[-third:])
    ]
    first, last = lags
    if first is None or last is None:
        return
    if abs(last - first) > MAX_WORD_DRIFT_S:
        raise Unusable(
            "bad_times",
            f"the words of {speaker} and their sound drift apart by {abs(last - first):.2f} s "
            f"(at most {MAX_WORD_DRIFT_S:g} s)",
        )
    lag = (first + last) / 2
    if abs(lag) > MAX_WORD_LAG_S:
        way = "after" if lag > 0 else "before"
        raise Unusable(
            "bad_times",
            f"the words of {speaker} come {abs(lag):.2f} s {way} their sound (at most "
            f"{MAX_WORD_LAG_S:g} s)",
        )


def words_lag_s(power: Power, words: Sequence[AlignedWord], first: int, end: int) -> float | None:
    """Return how late words are, re the sound of some frames; None if they do not tell."""
    first, end = max(first, 0), min(end, len(power))
    active = active_frames(power)[first:end].astype(np.float64)
    said = np.zeros(end - first)
    for word in words:
        said[max(frame_of(word.start_s) - first, 0) : max(frame_of(word.end_s) - first, 0)] = 1.0
    active -= active.mean()
    said -= said.mean()
    norm = float(np.sqrt(np.square(active).sum() * np.square(said).sum()))
    if not norm:
        return None
    reach = min(frame_of(_REACH_S), (end - first) // 2)
    # correlation[reach + k]: words that are k frames late
    size = 2 * len(said)
    spectrum = np.conj(np.fft.rfft(active, size)) * np.fft.rfft(said, size)
    circular = np.fft.irfft(spectrum, size) / norm
    correlation = np.concatenate([circular[-reach:], circular[: reach + 1]])
    best = int(correlation.argmax())
    return None if correlation[best] < MIN_FIT else (best - reach) / FRAMES_PER_S


def check_file_clocks(sounds: Sequence[MeasuredSound], only: Sequence[Frames]) -> None:
    """Raise Unusable if the clocks of the files of two sides drift apart.

    `only` are the frames in which one of them speaks alone; who is heard on both files gives the
    lag between them. Files that nobody is heard on twice tell nothing.
    """
    places: list[float] = []
    lags: list[float] = []
    for begin in _windows(only[0] | only[1]):
        lag_s = _lag_s(*(_window(one, begin) for one in sounds))
        if lag_s is not None:
            places.append(begin / FRAMES_PER_S)
            lags.append(lag_s)
    length_s = len(only[0]) / FRAMES_PER_S
    if len(lags) < 4 or max(places) - min(places) < length_s / 2:
        return
    slope, _ = np.polyfit(places, lags, 1)
    residual = np.abs(np.polyval([slope, _], places) - lags)
    drift_s = abs(float(slope)) * length_s
    if drift_s > MAX_FILE_DRIFT_S and np.median(residual) < drift_s / 4:
        raise Unusable(
            "clocks",
            f"the clocks of its two files drift apart by {drift_s:.2f} s in {length_s:.0f} s "
            f"(at most {MAX_FILE_DRIFT_S:g} s)",
        )


def _windows(frames: Frames) -> list[int]:
    """Return first frames of windows, from begin to end, that hold the most of these frames."""
    n = frame_of(_WINDOW_S)
    found = []
    for part in np.array_split(np.arange(len(frames)), _N_WINDOWS):
        begins = part[part + n <= len(frames)]
        if len(begins):
            sums = np.concatenate([[0], np.cumsum(frames)])
            counts = sums[begins + n] - sums[begins]
            if counts.max() >= n // 3:
                found.append(int(begins[counts.argmax()]))
    return found


def _window(one: MeasuredSound, begin: int) -> Audio:
    start_s = begin / FRAMES_PER_S
    samples = sound_of(one, start_s, start_s + _WINDOW_S)
    return resample(samples, one.rate, new_rate=_RATE)


def _lag_s(one: Audio, other: Audio) -> float | None:
    """Return how much later a sound is in the second; None if it is in one only."""
    n = max(len(one), len(other))
    spectrum = np.conj(np.fft.rfft(one, 2 * n)) * np.fft.rfft(other, 2 * n)
    weight = np.abs(spectrum)
    if not weight.any():
        return None
    circular = np.fft.irfft(spectrum / (weight + 1e-3 * weight.max()), 2 * n)
    reach = round(_FILE_REACH_S * _RATE)
    near = np.concatenate([circular[-reach:], circular[: reach + 1]])
    best = int(np.abs(near).argmax())
    if abs(near[best]) < _PEAK * float(near.std()):
        return None
    return (best - reach) / _RATE
