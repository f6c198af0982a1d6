"""Frames on the stream: one RGB frame per micro-turn, cut into square patches row by row.

N micro-turns, H x W pixels; a frame has rows x cols patches of 40 x 40 pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams.layout import PATCH_SIZE

Frames = NDArray[np.uint8]


def patches_of(frames: Frames) -> Frames:
    """Cut frames (N, H, W, 3) into patches (N, rows * cols, 40, 40, 3), row by row."""
    n, height, width, channels = frames.shape
    rows, cols = height // PATCH_SIZE, width // PATCH_SIZE
    split = frames.reshape(n, rows, PATCH_SIZE, cols, PATCH_SIZE, channels)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(
        n, rows * cols, PATCH_SIZE, PATCH_SIZE, channels
    )
