"""Whether two people are heard where their words lie: silent channels, one twice, swapped ones.

In frames in which only one side speaks by its words, its own channel is the louder one, each level
taken re the loud frames of its channel. Where it is the quieter one, the channels are swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from microturn.datagen.corpora.checking import SILENT_DB, Unusable
from microturn.datagen.corpora.conversations.checking.activity import (
    Frames,
    active_frames,
    frames_of,
    smoothed,
)
from microturn.datagen.corpora.conversations.checking.measured import FRAMES_PER_S, Power
from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.waveform import LOUD_SHARE

SWAPPED: Final = "channels swapped"
MIN_JUDGED_S: Final = 1.5  # of words of one side alone; with less nothing is said
MIN_OWN: Final = 0.6  # share of the time of words in which their own channel is the louder one
MAX_SWAPPED: Final = 0.25  # below this the channels are swapped
MIN_SOUNDING: Final = 0.4  # share of the time of words in which anything sounds
SAME_DB: Final = 1.0  # levels of one sound on two channels differ by less, but for a constant
MAX_UNTOLD: Final = 0.5  # share of the sound of a side that may lie outside its words
MIN_TOLD_S: Final = 10.0  # of sound; with less nothing is said
TOLD_DB: Final = -10.0  # sound outside words counts above this, re the mean of the words


def are_swapped(powers: Sequence[Power], told: Sequence[Sequence[TimeSpan]]) -> bool:
    """Tell whether each side's words lie on the other's channel; raises Unusable if on neither.

    `told` are the times of words of each side, or those in which the corpus says that it sounds.
    """
    said = [frames_of(some, len(powers[0])) for some in told]
    active = [active_frames(power) for power in powers]
    levels = [_level_db(power) for power in powers]
    either = active[0] | active[1]
    _check_sounding(said[0] | said[1], either)
    shares = []
    for own in (0, 1):
        alone = said[own] & ~said[1 - own] & either
        if np.count_nonzero(alone) >= MIN_JUDGED_S * FRAMES_PER_S:
            shares.append(float(np.mean(levels[own][alone] > levels[1 - own][alone])))
    if not shares:
        return False
    if max(shares) <= MAX_SWAPPED:
        return True
    if min(shares) < MIN_OWN:
        raise Unusable(
            "mislabelled",
            f"the words of a side lie where its own channel is the louder one in {min(shares):.0%} "
            f"of their time (at least {MIN_OWN:.0%}; channels that are swapped: at most "
            f"{MAX_SWAPPED:.0%})",
        )
    return False


def check_two_voices(powers: Sequence[Power]) -> None:
    """Raise Unusable if a channel is silent, or both are one: their levels rise and fall alike."""
    active = [active_frames(power) for power in powers]
    for letter, power, frames in zip("ab", powers, active, strict=True):
        if power.max() < 10 ** (SILENT_DB / 10) or not frames.any():
            raise Unusable("silent", f"the channel of its side {letter} is silent")
    either = active[0] | active[1]
    first, second = (10 * np.log10(smoothed(power)[either] + 1e-12) for power in powers)
    if np.std(first - second) < SAME_DB:
        raise Unusable(
            "one_voice",
            "its two channels are one mono recording twice; each person needs a channel",
        )


def check_told(power: Power, own: Frames, other: Frames, speaker: str) -> None:
    """Raise Unusable if most of the sound of a side lies outside its words."""
    level = smoothed(power)
    loud = level[own].mean() * 10 ** (TOLD_DB / 10) if own.any() else 0.0
    sounding = active_frames(power) & ~other & (level > loud)
    n = np.count_nonzero(sounding)
    untold = np.count_nonzero(sounding & ~own)
    if n >= MIN_TOLD_S * FRAMES_PER_S and untold > MAX_UNTOLD * n:
        raise Unusable(
            "mislabelled",
            f"{untold / FRAMES_PER_S:.1f} s of the {n / FRAMES_PER_S:.1f} s that {speaker} sounds "
            f"lie outside its words (at most {MAX_UNTOLD:.0%}): words are missing",
        )


def _check_sounding(said: Frames, either: Frames) -> None:
    n = np.count_nonzero(said)
    sounding = np.count_nonzero(said & either)
    if n >= MIN_JUDGED_S * FRAMES_PER_S and sounding < MIN_SOUNDING * n:
        raise Unusable(
            "mislabelled",
            f"only {sounding / n:.0%} of the time of its words sounds (at least "
            f"{MIN_SOUNDING:.0%}): they are of another recording",
        )


def _level_db(power: Power) -> Power:
    """Return levels re the loud frames of the channel."""
    level = smoothed(power)
    heard = level[level > level.max() * 1e-4]
    loud = float(np.quantile(heard, LOUD_SHARE)) if len(heard) else 1.0
    result: Power = (10 * np.log10(level / loud + 1e-9)).astype(np.float32)
    return result
