"""Sets with some damaged dialogues: another one is read in their place, up to a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams import Lanes
from microturn.training.reading.checks import check_lanes
from microturn.training.reading.source import Source, WrappedSource

T = TypeVar("T")


class TolerantSource(WrappedSource):
    """A source in which the next good dialogue stands in for a damaged one.

    Which one that is depends on the set alone, so readers, devices and resumed runs agree.
    skipped: reasons by number of a dialogue; they grow in the process that reads.
    """

    def __init__(self, inner: Source, *, max_skipped: int) -> None:
        super().__init__(inner)
        self.max_skipped = max_skipped
        self.skipped: dict[int, str] = {}
        self._vocab_size = len(inner.tokenizer)

    def lanes(self, index: int) -> Lanes:
        return self._first_good(self._checked, index)

    def agent(self, index: int) -> NDArray[np.float32]:
        return self._first_good(self.inner.agent, index)

    def length(self, index: int) -> int:
        return self._first_good(self.inner.length, index)

    def _checked(self, index: int) -> Lanes:
        lanes = self.inner.lanes(index)
        check_lanes(lanes, self.inner.name(index), vocab_size=self._vocab_size)
        return lanes

    def _first_good(self, read: Callable[[int], T], index: int) -> T:
        for shift in range(min(self.max_skipped, len(self) - 1)):
            number = index + shift if self.endless else (index + shift) % len(self)
            try:
                return read(number)
            except ValueError as error:
                self.skipped[number] = str(error)
        number = index + self.max_skipped
        return read(number if self.endless else number % len(self))


def skipped_in(source: object) -> dict[str, str]:
    """Return the reasons of all dialogues that this process skipped, by name."""
    if isinstance(source, TolerantSource):
        return {source.name(number): reason for number, reason in source.skipped.items()}
    parts = getattr(source, "parts", ())
    return {name: reason for part in parts for name, reason in skipped_in(part).items()}
