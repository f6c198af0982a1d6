"""The corpus that ships: its manifest, unpacked, and recordings of its English voice."""

from __future__ import annotations

import numpy as np

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.home import open_corpora
from microturn.datagen.corpora.index.packed_lines import content_of, lines_file
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME
from microturn.datagen.labels.dialogue import word_list
from microturn.model.streams.pcm import Audio

RATE = 16_000
VOICE = "asterisk-en"
GAP_S = 0.6


def shipped_manifest() -> bytes:
    return b"".join(content_of(lines_file(DEFAULT_FOLDER, MANIFEST_NAME)))


def shipped_lines() -> list[str]:
    return lines_of(shipped_manifest().decode())


def recordings_of(n: int, *, longest_s: float = 1.5) -> list[tuple[tuple[str, ...], Audio]]:
    """The first `n` short recordings of the voice by id: their words, and their sound (T,)."""
    corpus = open_corpora("default", sample_rate=RATE)
    prompts = [
        one
        for one in corpus.filter(speaker=VOICE)
        if one.words and one.duration_s <= longest_s and len(word_list(one.text)) <= 2
    ]
    chosen = sorted(prompts, key=lambda one: one.id)[:n]
    return [(word_list(one.text), corpus.load(one)) for one in chosen]


def in_a_row(sounds: list[Audio]) -> Audio:
    """One after the other, with silence around each."""
    gap = np.zeros(round(GAP_S * RATE), np.float32)
    return np.concatenate([gap, *(part for sound in sounds for part in (sound, gap))])
