"""The order in which a run reads dialogues: pure functions of seed and draw number.

A draw is one place of one batch, counted from the start of the run: draw `k` belongs to step
`k // batch_size`. An order keeps nothing between two draws: a resumed run, any number of readers
and any number of devices read the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_UNIT = 2**32  # shares are whole multiples of one part of this, so that counts are exact


class Order(Protocol):
    """Numbers of dialogues by draw."""

    def dialogues(self, first_draw: int, n: int) -> list[int]: ...


@dataclass(frozen=True)
class Endless:
    """One dialogue after the other, each once."""

    def dialogues(self, first_draw: int, n: int) -> list[int]:
        return list(range(first_draw, first_draw + n))


@dataclass(frozen=True)
class Shuffled:
    """Every epoch is a new permutation of the seed; a batch may reach into the next one."""

    n_dialogues: int
    seed: tuple[int, ...]

    def dialogues(self, first_draw: int, n: int) -> list[int]:
        draws = range(first_draw, first_draw + n)
        return [
            int(_permutation(*self.seed, draw // self.n_dialogues, n=self.n_dialogues)[place])
            for draw in draws
            for place in [draw % self.n_dialogues]
        ]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """From a draw on: the shares of the parts, in units that add up to 2**32."""

    first_draw: int
    shares: tuple[int, ...]


class Mixed:
    """Parts in given shares, exact to one dialogue at any draw; each part in an order of its own.

    numbers: the number in the mixture of a dialogue of a part. A later stage goes on in each part
    where the former left it, so that nothing is read twice before all of the part was read.
    """

    def __init__(
        self,
        parts: Sequence[Order],
        stages: Sequence[Stage],
        numbers: Callable[[int, int], int],
    ) -> None:
        self.parts, self.stages, self.numbers = parts, stages, numbers
        self._read = [(0,) * len(parts)]  # dialogues of each part before each stage
        for stage, following in zip(stages, stages[1:], strict=False):
            n = following.first_draw - stage.first_draw
            counts = drawn(stage.shares, n)
            self._read.append(tuple(a + b for a, b in zip(self._read[-1], counts, strict=True)))

    def dialogues(self, first_draw: int, n: int) -> list[int]:
        return [self._dialogue(draw) for draw in range(first_draw, first_draw + n)]

    def _dialogue(self, draw: int) -> int:
        firsts = [stage.first_draw for stage in self.stages]
        k = int(np.searchsorted(firsts, draw, side="right")) - 1
        stage = self.stages[k]
        before = drawn(stage.shares, draw - stage.first_draw)
        after = drawn(stage.shares, draw + 1 - stage.first_draw)
        part = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if b > a)
        [dialogue] = self.parts[part].dialogues(self._read[k][part] + before[part], 1)
        return self.numbers(part, dialogue)


def drawn(shares: Sequence[int], n: int) -> list[int]:
    """Count how many of the first `n` draws fall to each part; one more draw adds one to one part.

    The first part takes every draw at which its share reaches a whole number, the second does so
    with those that are left, and so on.
    """
    counts, left, units = [], n, sum(shares)
    for share in shares[:-1]:
        taken = left * share // units if units else 0
        counts.append(taken)
        left, units = left - taken, units - share
    return [*counts, left]


def whole_shares(weights: Sequence[float]) -> tuple[int, ...]:
    """Round weights to shares of 2**32 units; the largest takes what is left."""
    total = sum(weights)
    shares = [round(weight / total * _UNIT) for weight in weights]
    shares[shares.index(max(shares))] += _UNIT - sum(shares)
    return tuple(shares)


class Bucketed:
    """Dialogues of similar length share a step: less padding, the same dialogues in all.

    The draws of `n_steps` steps are sorted by length and cut into batches, which are then shuffled.
    lengths: micro-turns of a dialogue by its number.
    """

    def __init__(
        self,
        order: Order,
        lengths: Callable[[int], int],
        *,
        n_steps: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.order, self.lengths, self.seed = order, lengths, seed
        self.n_steps, self.batch_size = n_steps, batch_size
        self._last: tuple[int, list[int]] = (-1, [])

    def dialogues(self, first_draw: int, n: int) -> list[int]:
        size = self.n_steps * self.batch_size
        draws = range(first_draw, first_draw + n)
        return [self._bucket(draw // size)[draw % size] for draw in draws]

    def _bucket(self, number: int) -> list[int]:
        if self._last[0] != number:
            size = self.n_steps * self.batch_size
            found = sorted(self.order.dialogues(number * size, size), key=self.lengths)
            random = np.random.default_rng([self.seed, number, self.n_steps])
            batches = np.array(found).reshape(self.n_steps, self.batch_size)
            self._last = number, random.permutation(batches).flatten().tolist()
        return self._last[1]


@lru_cache(maxsize=8)
def _permutation(*seed: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(n)
