"""A model whose large weights have no memory yet, and the draws that will fill them.

A large parameter takes one number from the default generator. Each of its pieces has a generator of
its own, seeded with that number and its place, so that a process draws only the pieces of its
share, and the weights of a seed have the same bits in any layout and in a single process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from microturn.model.stored.tensor_files import runs

_LARGE: Final = 1 << 18  # elements; smaller parameters are made at once, whole
_PIECE: Final = 1 << 16  # elements that are drawn at once
_aten = torch.ops.aten
_EMPTY: Final = _aten.empty.memory_format
_CONSTANT: Final = (_aten.zero_.default, _aten.fill_.Scalar)
_DRAWN: Final = (_aten.normal_.default, _aten.uniform_.default)


@dataclass(frozen=True)
class Draw:
    """What fills a parameter: numbers from generators, or one number everywhere."""

    fill: Any  # the operation, in place
    arguments: tuple[Any, ...]
    seed: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill a tensor with the region of its size at `offsets`; empty: at the beginning."""
        whole = into if into.is_contiguous() else torch.empty(into.shape, dtype=self.dtype)
        flat, number, piece = whole.view(-1), -1, whole
        for start, near, n in runs(self.shape, offsets, into.shape):
            done = 0
            while done < n:
                begins, inside = divmod(start + done, _PIECE)
                if begins != number:
                    number, piece = begins, self._piece(begins)
                some = min(n - done, len(piece) - inside)
                flat[near + done : near + done + some] = piece[inside : inside + some]
                done += some
        if whole is not into:
            into.copy_(whole)

    @torch.no_grad()
    def _piece(self, number: int) -> Tensor:
        piece = torch.empty(min(_PIECE, math.prod(self.shape) - number * _PIECE))
        if self.fill in _CONSTANT:
            self.fill(piece, *self.arguments)
            return piece
        seed = np.random.SeedSequence((self.seed, number)).generate_state(1, np.uint64)[0]
        self.fill(piece, *self.arguments, generator=torch.Generator().manual_seed(int(seed)))
        return piece


class _Recording(TorchDispatchMode):
    """Gives large tensors no memory, and records what would fill them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws: dict[Tensor, Draw] = {}  # by identity

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _EMPTY and math.prod(args[0]) >= _LARGE:
            return func(*args, **{**kwargs, "device": "meta"})
        if func not in (*_CONSTANT, *_DRAWN) or not args[0].is_meta:
            return func(*args, **kwargs)
        target: Tensor = args[0]
        seed = int(torch.empty((), dtype=torch.int64).random_()) if func in _DRAWN else 0
        self.draws[target] = Draw(func, args[1:], seed, target.dtype, (*target.shape,))
        return target


@contextmanager
def without_memory() -> Iterator[dict[Tensor, Draw]]:
    """Make modules whose large parameters are on the meta device; yields draws by parameter."""
    with _Recording() as recording:
        yield recording.draws


def draws_of(model: nn.Module, draws: Mapping[Tensor, Draw]) -> dict[str, Draw]:
    """Name the draws of a model made `without_memory`."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    empty = {name: t for name, t in tensors if t.is_meta}
    lost = [name for name, t in empty.items() if t not in draws]
    if lost:
        raise RuntimeError(f"{lost[0]} is filled by no torch.nn.init; draw it with one")
    return {name: draws[t] for name, t in empty.items()}
