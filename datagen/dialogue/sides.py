"""Which recordings a split may use, and which speakers a pattern means.

A split uses those of its side; unseen people are in the test alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus, Utterance

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
