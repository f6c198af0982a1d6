"""Draws how a recording is varied: as it is, at another speed, or in a transformed voice.

The draw knows nothing of what is said or of the event that it is said in, so that no kind of event
is told by it. `rng` is whose draw it is: of the user, once a dialogue, or of each recording of
another speaker.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np

from microturn.datagen.config import DatagenConfig, TransformConfig
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.labels.voice_names import (
    VoiceTransform,
    speaker_of,
    speed_variant,
    variant_of,
)


class Variants:
    """The variants of a configuration and split."""

    def __init__(self, config: DatagenConfig) -> None:
        voices, train = config.voices, config.split == "train"
        self._share = voices.transform.share
        self._others_share = self._share if train else 0.0
        self._speeds = voices.phrase_factors if train else (1.0,)
        self.transforms = drawn_transforms(config) if self._share else ()

    def of_user(self, voice: str, rng: Callable[[str], np.random.Generator]) -> str:
        """Return the voice of the user of a dialogue: the drawn one, or transformed.

        Another person, who is drawn without a speed, is varied as others are.
        """
        if not variant_of(voice):
            return voice + self.of_other(rng("variant of another user"))
        if not self.transforms:
            return voice
        own = rng("transformed voice")
        return speaker_of(voice) + self._transform(own) if own.random() < self._share else voice

    def of_other(self, rng: np.random.Generator) -> str:
        """Return the variant of one recording of another speaker."""
        speeds = self._speeds
        variant = speed_variant(speeds[int(rng.integers(len(speeds)))]) if speeds else ""
        if self._others_share and rng.random() < self._others_share:
            return self._transform(rng)
        return variant

    def _transform(self, rng: np.random.Generator) -> str:
        return self.transforms[int(rng.integers(len(self.transforms)))].variant


def drawn_transforms(config: DatagenConfig) -> tuple[VoiceTransform, ...]:
    """Draw the transformed voices of a set, each by seed, split and its own number alone."""
    c = config.voices.transform
    return tuple(
        _drawn(c, rng_for(config.seed, number, f"{config.split}/transformed voice"))
        for number in range(c.n_voices)
    )


def _drawn(c: TransformConfig, rng: np.random.Generator) -> VoiceTransform:
    def ratio(bounds: tuple[float, float], digits: int) -> float:
        return round(float(np.exp(rng.uniform(log(bounds[0]), log(bounds[1])))), digits)

    return VoiceTransform(
        pitch_hz=ratio(c.pitch_hz, 1),
        formants=ratio(c.formants, 3),
        tempo=ratio(c.tempo, 3),
        intonation=ratio(c.intonation, 3),
    )
