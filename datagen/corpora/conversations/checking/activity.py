"""When a channel sounds, in frames of 10 ms, and where words lie among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.corpora.conversations.checking.measured import FRAMES_PER_S, Power
from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.waveform import CLICK_S, joined, loud_frames

VOICE_DB: Final = -30.0  # a voice is active above this level, re its loud frames
NOISE_SHARE, NOISE_DB = 0.1, 6.0  # and this far above its quietest tenth
JOIN_S: Final = 0.18  # shorter silences are part of an inter-pausal unit
SMOOTH: Final = 3  # frames over which power is averaged, so that periods of a voice do not count

Frames = npt.NDArray[np.bool_]


def smoothed(power: Power) -> Power:
    """Return the mean of `SMOOTH` frames around each one."""
    window = np.full(SMOOTH, 1 / SMOOTH, np.float32)
    return np.convolve(power, window, mode="same")


def active_frames(power: Power) -> Frames:
    """Return the frames in which a channel sounds, as `voice_spans` finds them."""
    frames = np.zeros(len(power), bool)
    level = smoothed(power)
    noise = float(np.quantile(level, NOISE_SHARE)) if len(level) else 0.0
    at_least = noise * 10 ** (NOISE_DB / 10)
    for first, end in loud_frames(level, threshold_db=VOICE_DB, at_least=at_least):
        frames[first:end] = True
    return frames


def activity_of(power: Power) -> tuple[TimeSpan, ...]:
    """Return the inter-pausal units of a channel by its sound, in seconds."""
    edges = np.flatnonzero(np.diff(np.pad(active_frames(power), 1).astype(np.int8)))
    units = joined([(a, b) for a, b in edges.reshape(-1, 2).tolist()], frame_of(JOIN_S))
    return tuple(
        (a / FRAMES_PER_S, b / FRAMES_PER_S) for a, b in units if b - a >= frame_of(CLICK_S)
    )


def frames_of(spans: Iterable[TimeSpan], n_frames: int, *, margin_s: float = 0.0) -> Frames:
    """Return the frames that spans of seconds cover, each longer by a margin on both sides."""
    frames = np.zeros(n_frames, bool)
    for start_s, end_s in spans:
        frames[max(frame_of(start_s - margin_s), 0) : max(frame_of(end_s + margin_s), 0)] = True
    return frames


def times_of_words(words: Sequence[AlignedWord]) -> list[TimeSpan]:
    return [(word.start_s, word.end_s) for word in words]


def frame_of(seconds: float) -> int:
    return round(seconds * FRAMES_PER_S)


def of_length(power: Power, n_frames: int) -> Power:
    """Return the power of a channel that is followed by silence up to a length."""
    return np.pad(power, (0, max(n_frames - len(power), 0)))[:n_frames]
