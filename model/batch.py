"""Lanes of several dialogues as tensors of equal length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from microturn.model.streams import IDLE, Lanes


@dataclass(frozen=True)
class LaneBatch:
    """B dialogues of N micro-turns: the arrays of `Lanes` with B in front, token ids as int64."""

    lanes: Mapping[str, Tensor]  # (B, N, *LaneSpec.shape) by lane
    weights: Mapping[str, Tensor]  # (B, N, P) by made lane
    missing_input: Tensor  # (B, N) bool
    real: Tensor | None = None  # (B, N) 1: a micro-turn of the dialogue, 0: padding; None: all 1

    def __getitem__(self, lane: str) -> Tensor:
        """Return the tensor of a lane."""
        return self.lanes[lane]

    @classmethod
    def collate(cls, dialogues: Sequence[Lanes]) -> LaneBatch:
        """Stack dialogues; shorter ones end in idle micro-turns that carry no weight."""
        longest = max(d.n_micro_turns for d in dialogues)
        first = dialogues[0]
        return cls(
            lanes={n: _stack([d.arrays[n] for d in dialogues], longest) for n in first.arrays},
            weights={n: _stack([d.weights[n] for d in dialogues], longest) for n in first.weights},
            missing_input=_stack([d.missing_input for d in dialogues], longest),
            real=_real([d.n_micro_turns for d in dialogues]),
        )

    def to(self, device: torch.device | str) -> LaneBatch:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, function: Callable[[Tensor], Tensor]) -> LaneBatch:
        """Apply `function` to every tensor."""
        return LaneBatch(
            lanes={name: function(lane) for name, lane in self.lanes.items()},
            weights={name: function(weight) for name, weight in self.weights.items()},
            missing_input=function(self.missing_input),
            real=None if self.real is None else function(self.real),
        )

    def row(self, b: int) -> LaneBatch:
        """Return dialogue `b` alone."""
        return self.map(lambda tensor: tensor[b : b + 1])

    def window(self, start: int, stop: int) -> LaneBatch:
        """Return the micro-turns from `start` to before `stop`."""
        return self.map(lambda tensor: tensor[:, start:stop])

    @property
    def shape(self) -> tuple[int, int]:
        B, N = self.missing_input.shape
        return B, N

    @property
    def n_real(self) -> Tensor | int:
        """Count the micro-turns that are no padding."""
        return self.missing_input.numel() if self.real is None else self.real.sum()


def _real(lengths: Sequence[int]) -> Tensor | None:
    if len(set(lengths)) == 1:
        return None
    ends = torch.tensor(lengths)[:, None]
    return (torch.arange(max(lengths)) < ends).float()


def _stack(arrays: Sequence[np.ndarray], n: int) -> Tensor:
    stacked = np.stack([_pad(array, n) for array in arrays])
    tensor = torch.from_numpy(stacked)
    return tensor.long() if stacked.dtype == np.int32 else tensor


def _pad(array: np.ndarray, n: int) -> np.ndarray:
    """Append zeros: bin 0, <idle>, silence, black, weight 0."""
    assert IDLE == 0
    missing = n - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array
