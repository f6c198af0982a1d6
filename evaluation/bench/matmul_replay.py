"""The matrix products of a training step, recorded from it and run by themselves.

Attention is counted by its products alone: two forward, four backward, over all pairs of query and
key. What a fused kernel computes twice, skips, or does besides (softmax, mask) is not credited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_ATTENTION = "_scaled_dot_product_"


@dataclass(frozen=True)
class Operand:
    """A matrix, or a batch of them, as it lies in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Operand:
        return cls(tuple(tensor.shape), tensor.stride())

    @classmethod
    def dense(cls, *shape: int) -> Operand:
        return cls.of(torch.empty(shape, device="meta"))

    @property
    def mT(self) -> Operand:
        (*batch, m, n), (*steps, p, q) = self.shape, self.stride
        return Operand((*batch, n, m), (*steps, q, p))

    def make(self) -> Tensor:
        tensor = torch.empty_strided(self.shape, self.stride)
        # Through the storage: elements of an expanded operand share memory.
        torch.empty(0).set_(tensor.untyped_storage()).normal_()
        return tensor


@dataclass(frozen=True)
class Product:
    """(..., m, k) times (..., k, n)."""

    left: Operand
    right: Operand

    @property
    def flops(self) -> int:
        *batch, m, k = self.left.shape
        n = self.right.shape[-1]
        return 2 * m * k * n * (batch[0] if batch else 1)


class ProductRecorder(TorchDispatchMode):
    """Notes every matrix product that runs while it is entered, in order."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[Product] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        packet = func.overloadpacket
        if packet in (_aten.mm, _aten.bmm):
            self._add(*args[:2])
        elif packet in (_aten.addmm, _aten.baddbmm):
            self._add(*args[1:3])
        elif packet.__name__.startswith(_ATTENTION):
            self.products += _attention(packet.__name__, args)
        return func(*args, **(kwargs or {}))

    def _add(self, left: Tensor, right: Tensor) -> None:
        self.products.append(Product(Operand.of(left), Operand.of(right)))


def _attention(name: str, args: Sequence[Any]) -> list[Product]:
    backward = name.endswith("_backward")
    q, k, v = args[1:4] if backward else args[:3]
    rows = q.shape[0] * q.shape[1]
    T, C, K, V = q.shape[2], k.shape[2], q.shape[3], v.shape[3]
    queries, keys, values = (
        Operand.dense(rows, T, K),
        Operand.dense(rows, C, K),
        Operand.dense(rows, C, V),
    )
    scores, outputs = Operand.dense(rows, T, C), Operand.dense(rows, T, V)
    if not backward:
        return [Product(queries, keys.mT), Product(scores, values)]
    return [
        Product(outputs, values.mT),  # of the scores
        Product(scores.mT, outputs),  # of the values
        Product(scores, keys),  # of the queries
        Product(scores.mT, queries),  # of the keys
    ]


class MatmulReplay:
    """The recorded products, one after the other, into memory that is there already."""

    def __init__(self, products: Sequence[Product]) -> None:
        operands: dict[Operand, Tensor] = {}
        results: dict[tuple[int, ...], Tensor] = {}
        self._calls: list[tuple[Tensor, Tensor, Tensor]] = []
        for product in products:
            left = _made(operands, product.left)
            right = _made(operands, product.right)
            shape = (*product.left.shape[:-1], product.right.shape[-1])
            if shape not in results:
                results[shape] = torch.empty(shape)
            self._calls.append((left, right, results[shape]))

    @torch.no_grad()
    def __call__(self) -> None:
        for left, right, result in self._calls:
            torch.matmul(left, right, out=result)


def _made(operands: dict[Operand, Tensor], wanted: Operand) -> Tensor:
    if wanted not in operands:
        operands[wanted] = wanted.make()
    return operands[wanted]
