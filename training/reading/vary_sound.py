"""Changes of the sound that a dialogue hears in training: other vocal tracts, missing bands.

A corpus has few people, and a model learns them by heart. Multiplying all frequencies by a factor
is what a longer or shorter vocal tract does to the formants (vocal tract length perturbation,
Jaitly and Hinton 2013, "Vocal Tract Length Perturbation (VTLP) improves speech recognition");
stretches of silent bands keep a word from hanging on one of them (SpecAugment, arXiv 1904.08779,
frequency masks). A gain that differs from band to band is another microphone. Stretches of time
stay, since words that nobody hears are no labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from microturn.model.batch import LaneBatch
from microturn.model.streams import StreamLayout
from microturn.model.streams.layout import N_MELS
from microturn.model.streams.mel import DB_PER_BIN, DMEL_BINS, bands_of_scaled
from microturn.training.config import SoundConfig

_MASKS = 2  # stretches of bands of a dialogue


def vary_sound(
    batch: LaneBatch, seeds: Sequence[int], layout: StreamLayout, cfg: SoundConfig
) -> LaneBatch:
    """Change `audio_in` of some dialogues, each by its seed; all else stays."""
    if not cfg.share:
        return batch
    maps = np.tile(np.arange(N_MELS), (len(seeds), 1))
    gains = np.zeros(maps.shape, np.int16)
    silent = np.zeros(maps.shape, bool)
    for row, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        if rng.random() >= cfg.share:
            continue
        factor = cfg.largest_factor ** rng.uniform(-1, 1)
        maps[row] = bands_of_scaled(layout.sample_rate, np.array(factor))
        low_db, high_db = rng.uniform(-cfg.largest_gain_db, cfg.largest_gain_db, 2)
        gains[row] = np.rint(np.linspace(low_db, high_db, N_MELS) / DB_PER_BIN)
        for _ in range(_MASKS):
            width = int(rng.integers(cfg.masked_bands + 1))
            start = int(rng.integers(N_MELS - width + 1))
            silent[row, start : start + width] = True
    sound = batch["audio_in"]  # (B, N, F, 80)
    index, gain, mask = (
        torch.from_numpy(array).to(sound.device).view(-1, 1, 1, N_MELS)
        for array in (maps, gains, silent)
    )
    heard = sound.gather(-1, index.expand(sound.shape)) + gain
    changed = heard.clamp(0, DMEL_BINS - 1).masked_fill(mask, 0).to(sound.dtype)
    return replace(batch, lanes={**batch.lanes, "audio_in": changed})
