"""Batch-invariant arithmetic on a CPU: the result of a row does not depend on the other rows.

A session must say the same in every batch, and however many positions a call brings. Two
properties of the libraries prevent that, both observed in fp32 on one thread:

- A matrix product of few rows takes another path (another order of summation) than one of many:
  below four rows on an AMD EPYC, below sixteen on an Intel Xeon with AVX-512. Fewer rows are
  therefore padded to sixteen. `MKL_CBWR=AUTO,STRICT` gives the same promise, but only where the
  environment is set before the first product.
- `silu`, `sigmoid` and `gelu` compute whole pairs of vector registers with one routine and the rest
  at the end of the tensor with another. Rows are therefore padded to whole pairs of registers, so
  that the end of the tensor never lies in a row that is used.

With gradients, and on a GPU, these functions are the plain ones.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_ROWS = 16
MIN_OUTPUTS = 16
_LANES = 32  # two AVX-512 registers of fp32; a multiple of narrower machines' width


def is_row_wise(x: Tensor) -> bool:
    """Whether results must not depend on the number of rows: inference on a CPU."""
    return not (x.is_cuda or torch.is_grad_enabled())


def padded(n: int, multiple: int) -> int:
    """Return `n` rounded up to a multiple."""
    return -(-n // multiple) * multiple


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `F.linear` of (..., in) by (out, in)."""
    if not is_row_wise(x):
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
    """Return x (n, in) @ weight (in, out); out is at least `MIN_OUTPUTS`."""
    n = len(x)
    if n >= MIN_ROWS or not is_row_wise(x):
        return x @ weight
    return (F.pad(x, (0, 0, 0, MIN_ROWS - n)) @ weight)[:n]


def elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply `function` to every number of x (..., width)."""
    width = x.shape[-1]
    if not is_row_wise(x) or width % _LANES == 0:
        return function(x)
    return function(F.pad(x, (0, -width % _LANES)))[..., :width]
