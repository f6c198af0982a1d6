"""Which recordings a split may use, and which speakers a pattern means.

A split uses those of its side; unseen people are in the test alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Final

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.index.catalogue import Mask, Utterances
from microturn.datagen.corpora.manifest import Corpus

ANYBODY: Final = "any"


def is_pattern(names: str) -> bool:
    """Whether `voices.agent` may mean several speakers: a list, a pattern or `any`."""
    return names == ANYBODY or any(sign in names for sign in ",*?[")


def matching(names: str, speakers: Iterable[str]) -> list[str]:
    """Return the speakers that a name, a list of names or patterns, or `any` means, sorted."""
    if names == ANYBODY:
        return sorted(speakers)
    patterns = [part.strip() for part in names.strip("[]").split(",")]
    return sorted(s for s in speakers if any(fnmatchcase(s, pattern) for pattern in patterns))


def on_side(utterances: Utterances, split: str, *, unseen: Collection[str]) -> Mask:
    """Return which recordings (n,) a split may use."""
    stated = utterances.is_one_of("split", (split, "any"))
    return np.where(utterances.is_one_of("speaker", unseen), split == "test", stated)


def held_out(utterances: Utterances, *, unseen: Collection[str]) -> Mask:
    """Return which recordings (n,) are of people whom no training set holds."""
    return utterances.is_one_of("speaker", unseen) | utterances.is_one_of("split", ("test",))


def audible(corpus: Corpus, config: DatagenConfig) -> Utterances:
    """Return the recordings that users, or voices around them, may be made of."""
    everything = corpus.utterances
    return everything.where(
        (everything.n_words() > 0)
        & ~everything.has("tag", "music")
        & on_side(everything, config.split, unseen=config.voices.unseen)
    )
