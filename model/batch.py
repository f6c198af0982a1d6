"""Lanes of several dialogues as tensors of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from microturn.model.streams import Lanes
from microturn.model.streams.text import IDLE


@dataclass(frozen=True)
class LaneBatch:
    """B dialogues of N micro-turns; the fields are those of `Lanes` with B in front."""

    audio_in: Tensor  # (B, N, F, 80) uint8
    late: Tensor  # (B, N) bool
    text_in: Tensor  # (B, N, P) int64
    heard: Tensor
    heard_weight: Tensor
    say: Tensor
    say_weight: Tensor
    audio_out: Tensor  # (B, N, 16, 80) uint8
    audio_out_weight: Tensor
    video: Tensor | None = None  # (B, N, H, W, 3) uint8

    @classmethod
    def collate(cls, dialogues: Sequence[Lanes]) -> LaneBatch:
        """Stack dialogues; shorter ones end in idle micro-turns that carry no weight."""
        longest = max(d.n_micro_turns for d in dialogues)
        arrays = {}
        for f in fields(cls):
            if f.name == "video" and dialogues[0].video is None:
                continue
            stacked = np.stack([_pad(getattr(d, f.name), longest) for d in dialogues])
            tensor = torch.from_numpy(stacked)
            arrays[f.name] = tensor.long() if stacked.dtype == np.int32 else tensor
        return cls(**arrays)

    def to(self, device: torch.device | str) -> LaneBatch:
        lanes = {f.name: getattr(self, f.name) for f in fields(self)}
        present = {name: lane for name, lane in lanes.items() if lane is not None}
        moved = {name: lane.to(device, non_blocking=True) for name, lane in present.items()}
        return LaneBatch(**moved)

    @property
    def shape(self) -> tuple[int, int]:
        B, N = self.late.shape
        return B, N


def _pad(array: np.ndarray, n: int) -> np.ndarray:
    """Append zeros: bin 0, <idle>, silence, weight 0."""
    assert IDLE == 0
    missing = n - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array
