"""Which recordings a split may use: those of its side, and of unseen people in the test alone."""

from __future__ import annotations

from collections.abc import Collection

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus, Utterance


def is_on_side(utterance: Utterance, split: str, *, unseen: Collection[str]) -> bool:
    """Whether a split may use a recording."""
    side = "test" if utterance.speaker in unseen else utterance.split
    return side in (split, "any")


def audible(corpus: Corpus, config: DatagenConfig) -> list[Utterance]:
    """Return the recordings that users, or voices around them, may be made of."""
    return [
        utterance
        for utterance in corpus
        if utterance.words
        and "music" not in utterance.tags
        and is_on_side(utterance, config.split, unseen=config.voices.unseen)
    ]
