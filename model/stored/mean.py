"""The mean of a tensor over several checkpoints, read as one stored tensor.

Weights of runs that went on from the same weights lie in one basin of the loss: their mean often
has what each of them has gained (Wortsman et al. 2022, "Model soups", arXiv 2203.05482).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.model.stored.tensor_files import Stored


@dataclass(frozen=True)
class MeanTensor:
    """The mean of tensors of one shape; of numbers that are not floating, the first."""

    parts: tuple[Stored, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    def read(self, into: Tensor, offsets: Sequence[int] = ()) -> None:
        """Fill a tensor with the region of its size at `offsets`; empty: at the beginning."""
        if not self.dtype.is_floating_point:
            self.parts[0].read(into, offsets)
            return
        total = torch.zeros(into.shape, dtype=torch.float64)
        for part in self.parts:
            one = torch.empty(into.shape, dtype=torch.float32)
            part.read(one, offsets)
            total += one
        with torch.no_grad():
            into.copy_(total / len(self.parts))
