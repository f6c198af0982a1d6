"""One person on the other's channel: measured while only the other speaks, and muted there.

The level on the channel, without its noise, re the level of the other on their own channel, as the
median over frames: what the person of the channel says unnoticed does not move it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from microturn.datagen.corpora.conversations.checking.activity import (
    Frames,
    active_frames,
    frame_of,
    smoothed,
)
from microturn.datagen.corpora.conversations.checking.measured import FRAMES_PER_S, Power

MAX_CROSSTALK_DB: Final = -12.0  # above this the conversation is skipped
INAUDIBLE_DB: Final = -50.0  # below this nothing is done
MIN_MEASURED_S: Final = 1.0  # in which only the other speaks; with less nothing is known
NEAR_OWN_S: Final = 0.3  # around the person's own words nothing is measured or muted
ABOVE_NOISE_DB: Final = 3.0  # crosstalk that is below this is not heard
LOUD_DB: Final = 15.0  # frames of the other within this of their loud ones are compared
MARGIN_DB: Final = 8.0  # by which a frame may exceed the median and still be crosstalk
DELAY_S: Final = 0.05  # of the other's voice on this channel, 17 m
NEVER_DB: Final = -80.0
_LONG: Final = 9  # frames over which levels are compared, longer than the delay


@dataclass(frozen=True, kw_only=True)
class Crosstalk:
    """The level of the other on a channel, re their own; at most that if it is not heard."""

    level_db: float
    is_heard: bool


def crosstalk_on(
    power: Power, other: Power, *, own_words: Frames, only_other: Frames
) -> Crosstalk | None:
    """Measure the other on a channel; None if they hardly speak alone.

    `own_words` are frames around words of the channel's person, `only_other` those in which the
    other speaks and the person does not.
    """
    level, theirs = _long(power), _long(other)
    active = active_frames(other)
    if not active.any():
        return None
    loud = float(np.quantile(theirs[active], 0.95)) * 10 ** (-LOUD_DB / 10)
    frames = only_other & (theirs > loud)
    if np.count_nonzero(frames) < MIN_MEASURED_S * FRAMES_PER_S:
        return None
    quiet = ~active & ~own_words & ~_widen(active_frames(power))
    noise = float(np.median(level[quiet])) if quiet.any() else float(level.min())
    median = float(np.median(level[frames]))
    heard = median > noise * 10 ** (ABOVE_NOISE_DB / 10) and median > 0
    ratios = (level[frames] - (noise if heard else 0.0)) / theirs[frames]
    ratio = max(float(np.median(ratios)), 10 ** (NEVER_DB / 10))
    return Crosstalk(level_db=round(10 * np.log10(ratio), 1), is_heard=heard)


def crosstalk_frames(power: Power, other: Power, found: Crosstalk, *, own_words: Frames) -> Frames:
    """Return the frames of a channel that hold nothing but the other's voice."""
    limit_db = found.level_db + MARGIN_DB
    theirs = _widened(smoothed(other))
    explained = smoothed(power) <= theirs * 10 ** (limit_db / 10)
    muted: Frames = _widen(active_frames(other)) & explained & ~own_words
    return muted


def _long(power: Power) -> Power:
    mean: Power = np.convolve(power, np.full(_LONG, 1 / _LONG, np.float32), mode="same")
    return mean


def _widened(power: Power) -> Power:
    """Return the loudest frame of the last `DELAY_S` and the next one."""
    n = frame_of(DELAY_S)
    padded = np.pad(power, (n, 1))
    widest: Power = np.lib.stride_tricks.sliding_window_view(padded, n + 2).max(axis=1)
    return widest


def _widen(frames: Frames) -> Frames:
    return _widened(frames.astype(np.float32)) > 0
