"""A model whose large weights have no memory yet, and the draws that will fill them.

A process that holds a share of the weights draws all of them, in the order of a single process and
from the same generator, a piece at a time, and keeps its share. So the weights of a seed are those
of a model on one device, bit for bit, whatever the layout, and no process ever holds the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from microturn.model.stored.tensor_files import runs

_LARGE: Final = 1 << 18  # elements; smaller parameters are made at once, whole
_PIECE: Final = 1 << 16  # elements that are drawn at once; a multiple of 16, see `_pieces`
_aten = torch.ops.aten
_EMPTY: Final = _aten.empty.memory_format
_CONSTANT: Final = (_aten.zero_.default, _aten.fill_.Scalar)
_DRAWN: Final = (_aten.normal_.default, _aten.uniform_.default)


@dataclass(frozen=True)
class Draw:
    """What fills a parameter: numbers from a generator, or one number everywhere."""

    fill: Any  # the operation, in place
    arguments: tuple[Any, ...]
    generator: Tensor  # its state before
    dtype: torch.dtype
    shape: tuple[int, ...]

    @torch.no_grad()
    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill a tensor with the region of its size at `offsets`; empty: at the beginning."""
        generator = torch.Generator()
        generator.set_state(self.generator)
        wanted = list(runs(self.shape, offsets, into.shape))
        flat = into if into.is_contiguous() else torch.empty(into.shape, dtype=self.dtype)
        flat, i = flat.view(-1), 0
        for begin, piece in _pieces(torch.Size(self.shape).numel()):
            self._draw(piece, generator)
            while i < len(wanted) and (start := wanted[i][0]) < begin + len(piece):
                _, near, n = wanted[i]
                low, high = max(start, begin), min(start + n, begin + len(piece))
                flat[near + low - start : near + high - start] = piece[low - begin : high - begin]
                if start + n > begin + len(piece):
                    break  # goes on in the next piece
                i += 1
            if i == len(wanted):
                break
        if not into.is_contiguous():
            into.copy_(flat.view(into.shape))

    def _draw(self, piece: Tensor, generator: torch.Generator | None) -> None:
        chance = {} if self.fill in _CONSTANT else {"generator": generator}
        self.fill(piece, *self.arguments, **chance)

    def skip(self) -> None:
        """Move the default generator on as filling the parameter does."""
        if self.fill not in _CONSTANT:
            for _, piece in _pieces(torch.Size(self.shape).numel()):
                self._draw(piece, None)


def _pieces(n: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the beginnings of pieces of n elements, and memory for each.

    torch draws normal numbers in groups of 16, and the last 16 of a tensor once more: pieces but
    the last are whole groups, and the last is no shorter than one.
    """
    memory = torch.empty(min(n, 2 * _PIECE))
    begin = 0
    while begin < n:
        size = n - begin if n - begin < 2 * _PIECE else _PIECE
        yield begin, memory[:size]
        begin += size


class _Recording(TorchDispatchMode):
    """Gives large tensors no memory, and records what would fill them.

    is_drawn: the default generator moves on as if they were drawn.
    """

    def __init__(self, *, is_drawn: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_drawn = is_drawn
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
        draw = Draw(func, args[1:], torch.get_rng_state(), target.dtype, (*target.shape,))
        if self.is_drawn:
            draw.skip()
        self.draws[target] = draw
        return target


@contextmanager
def without_memory(*, is_drawn: bool) -> Iterator[dict[Tensor, Draw]]:
    """Make modules whose large parameters are on the meta device; yields draws by parameter.

    is_drawn: the default generator moves on as if they were drawn, and the draws can be read.
    """
    with _Recording(is_drawn=is_drawn) as recording:
        yield recording.draws


def draws_of(model: nn.Module, draws: Mapping[Tensor, Draw]) -> dict[str, Draw]:
    """Name the draws of a model made `without_memory`."""
    empty = {name: p for name, p in model.named_parameters() if p.is_meta}
    lost = [name for name, p in empty.items() if p not in draws]
    if lost:
        raise RuntimeError(f"{lost[0]} is filled by no torch.nn.init; draw it with one")
    return {name: draws[p] for name, p in empty.items()}
