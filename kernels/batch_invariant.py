"""Arithmetic on a CPU whose rows do not depend on how many there are.

What a session says must not depend on who shares its batch, nor on how many positions a call
brings. Two things of the libraries stand in the way, both seen in fp32 on one thread:

- A matrix product of fewer than four rows takes another path (a vector product that adds up in
  another order) than one of four and more. Fewer rows are therefore padded to four.
- `silu`, `sigmoid` and `gelu` take whole vector registers, two at a time, through one routine and
  what is left at the end of the tensor through another. Rows are therefore padded to whole pairs
  of registers, so that the end of the tensor is never the end of a row that is wanted.

With gradients, and on a GPU, all of this steps aside.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_ROWS = 4
MIN_OUTPUTS = 16
_LANES = 32  # two AVX-512 registers of fp32; a multiple of what narrower machines take


def wants_rows(x: Tensor) -> bool:
    """Whether rows have to be independent of their number: inference on a CPU."""
    return not (x.is_cuda or torch.is_grad_enabled())


def padded(n: int, multiple: int) -> int:
    """The next multiple of a number."""
    return -(-n // multiple) * multiple


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of (..., in) by (out, in)."""
    if not wants_rows(x):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    n, width = len(rows), len(weight)
    if n < MIN_ROWS:
        rows = F.pad(rows, (0, 0, 0, MIN_ROWS - n))
    if width < MIN_OUTPUTS:
        missing = MIN_OUTPUTS - width
        weight = F.pad(weight, (0, 0, 0, missing))
        bias = None if bias is None else F.pad(bias, (0, missing))
    y = F.linear(rows, weight, bias)[:n]
    return y[:, :width].reshape(*x.shape[:-1], width)


def matmul(x: Tensor, weight: Tensor) -> Tensor:
    """x (n, in) @ weight (in, out), out at least `MIN_OUTPUTS`."""
    n = len(x)
    if n >= MIN_ROWS or not wants_rows(x):
        return x @ weight
    return (F.pad(x, (0, 0, 0, MIN_ROWS - n)) @ weight)[:n]


def elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of every number of x (..., width)."""
    width = x.shape[-1]
    if not wants_rows(x) or width % _LANES == 0:
        return function(x)
    return function(F.pad(x, (0, -width % _LANES)))[..., :width]
