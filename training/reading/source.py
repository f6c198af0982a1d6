"""What a run reads from: dialogues by number."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.sets.contents import Contents
from microturn.model.streams import Lanes, StreamLayout, Tokenizer


class Source(Protocol):
    """Dialogues by number; the loader's processes get copies of it."""

    @property
    def layout(self) -> StreamLayout: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def n_micro_turns(self) -> int:
        """Micro-turns of its longest dialogue, or of the first one where that is not known."""
        ...

    @property
    def endless(self) -> bool:
        """Whether every number has a dialogue."""
        ...

    def __len__(self) -> int: ...
    def lanes(self, index: int) -> Lanes: ...
    def agent(self, index: int) -> NDArray[np.float32]:
        """The agent's voice on the wall clock."""
        ...

    def length(self, index: int) -> int:
        """Micro-turns of a dialogue."""
        ...

    def name(self, index: int) -> str:
        """Shard and key of a dialogue, for messages."""
        ...

    def contents(self) -> Contents | None:
        """Who and what is heard; None where a set does not record it."""
        ...


class WrappedSource:
    """Another source's dialogues; a child changes how one of them is read."""

    def __init__(self, inner: Source) -> None:
        self.inner = inner

    @property
    def layout(self) -> StreamLayout:
        return self.inner.layout

    @property
    def tokenizer(self) -> Tokenizer:
        return self.inner.tokenizer

    @property
    def n_micro_turns(self) -> int:
        return self.inner.n_micro_turns

    @property
    def endless(self) -> bool:
        return self.inner.endless

    def __len__(self) -> int:
        return len(self.inner)

    def lanes(self, index: int) -> Lanes:
        return self.inner.lanes(index)

    def agent(self, index: int) -> NDArray[np.float32]:
        return self.inner.agent(index)

    def length(self, index: int) -> int:
        return self.inner.length(index)

    def name(self, index: int) -> str:
        return self.inner.name(index)

    def contents(self) -> Contents | None:
        return self.inner.contents()


def tokenizer_text(tokenizer: Tokenizer) -> str:
    """Return the content of a tokenizer's file."""
    with TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return (Path(folder) / "tokenizer.json").read_text(encoding="utf-8")
