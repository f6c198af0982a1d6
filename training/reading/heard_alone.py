"""Dialogues that teach `heard` alone: what the agent does in them is no example."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.sets.contents import Contents
from microturn.model.streams import Lanes, StreamLayout, Tokenizer
from microturn.training.reading.source import Source

HEARD = "heard"


class HeardAlone:
    """A source whose other made lanes carry no loss weight."""

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
        lanes = self.inner.lanes(index)
        weights = {
            lane: weight if lane == HEARD else np.zeros_like(weight)
            for lane, weight in lanes.weights.items()
        }
        return replace(lanes, weights=weights)

    def agent(self, index: int) -> NDArray[np.float32]:
        return self.inner.agent(index)

    def length(self, index: int) -> int:
        return self.inner.length(index)

    def name(self, index: int) -> str:
        return self.inner.name(index)

    def contents(self) -> Contents | None:
        return self.inner.contents()
