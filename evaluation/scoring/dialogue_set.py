"""Dialogues of a shard set as evaluation needs them: what is scripted, and both channels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.sets.shards import ShardReader, StoredDialogue, key_of
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.model.streams import MISSING_INPUT_ARRAY, StreamLayout

_ABOUT: Final = ("README.md", "sha256sums.txt")  # of a checkpoint; change nothing that it says


@dataclass(frozen=True, kw_only=True)
class HeldOutDialogue:
    """One dialogue; its sound is read when asked for."""

    dialogue: Dialogue
    sample_rate: int
    load_user: Callable[[], NDArray[np.float32]]
    load_agent: Callable[[], NDArray[np.float32]]
    load_given: Callable[[], dict[str, NDArray[Any]]] = dict  # lanes without a front end
    load_missing_input: Callable[[], NDArray[np.bool_] | None] = lambda: None  # by micro-turn

    @property
    def key(self) -> str:
        return self.dialogue.key


Samples = Callable[[], Iterator[HeldOutDialogue]]


@dataclass(frozen=True)
class DialogueSet:
    """A shard set, read in order."""

    reader: ShardReader

    @classmethod
    def open(cls, folder: str) -> DialogueSet:
        """Raises FileNotFoundError or ValueError when the folder is no finished shard set."""
        return cls(ShardReader(folder))

    @property
    def layout(self) -> StreamLayout:
        return self.reader.layout

    @property
    def digest(self) -> str:
        """Changes with the content of the set."""
        digests = [shard.sha256 for shard in self.reader.shards]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def count(self, limit: int | None = None) -> int:
        return len(self.reader) if limit is None else min(limit, len(self.reader))

    def read(self, limit: int | None = None) -> Iterator[HeldOutDialogue]:
        """The first `limit` dialogues, or all."""
        for position in range(self.count(limit)):
            yield self.at(position)

    def at(self, position: int) -> HeldOutDialogue:
        """One dialogue."""
        stored = self.reader[position]
        return HeldOutDialogue(
            dialogue=Dialogue.of(stored.key, stored.labels),
            sample_rate=self.layout.sample_rate,
            load_user=stored.user,
            load_agent=stored.agent,
            load_given=stored.given,
            load_missing_input=partial(_missing_input, stored),
        )

    def find(self, key: str) -> HeldOutDialogue:
        """The dialogue of that key."""
        return self.at(int(key) - int(self.reader.index["first_index"]))

    def key(self, position: int) -> str:
        """The key of a dialogue, without reading it."""
        return key_of(int(self.reader.index["first_index"]) + position)


def _missing_input(stored: StoredDialogue) -> NDArray[np.bool_] | None:
    """Return the micro-turns without input; None in sets of sound and labels only."""
    if "streams.npz" not in stored.members:
        return None
    return np.asarray(stored.tokens()[MISSING_INPUT_ARRAY], np.bool_)


def checkpoint_digest(folder: str) -> str:
    """Changes with what decides a checkpoint, not with its card and list; empty for none."""
    if not folder:
        return ""
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).iterdir() if p.is_file() and p.name not in _ABOUT):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
