"""Video on the stream: one RGB frame per micro-turn, cut into square patches row by row.

N micro-turns, H x W pixels; a frame has video_rows x video_cols patches of 40 x 40 pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams.layout import PATCH_SIZE, LayoutError, StreamLayout

Frames = NDArray[np.uint8]


def frame_shape(layout: StreamLayout) -> tuple[int, int, int]:
    """(H, W, 3) of a frame; zeros when the layout has no video lane."""
    return layout.video_rows * PATCH_SIZE, layout.video_cols * PATCH_SIZE, 3


def pack_video(frames: Frames | None, n: int, layout: StreamLayout) -> Frames | None:
    """The frames of `n` micro-turns as the layout wants them, or None when it has no lane.

    No frames for a layout with the lane are black ones: a camera that is off.
    """
    if not layout.video_positions:
        if frames is not None:
            raise LayoutError(
                "there are video frames but layout.video_rows and layout.video_cols are 0"
            )
        return None
    expected = (n, *frame_shape(layout))
    if frames is None:
        return np.zeros(expected, np.uint8)
    if frames.shape != expected or frames.dtype != np.uint8:
        raise LayoutError(
            f"video is {frames.dtype} {frames.shape} but layout.video_rows={layout.video_rows} and "
            f"layout.video_cols={layout.video_cols} need uint8 {expected}"
        )
    return frames


def patches_of(frames: Frames) -> Frames:
    """Frames (N, H, W, 3) as patches (N, rows * cols, 40, 40, 3), row by row."""
    n, height, width, channels = frames.shape
    rows, cols = height // PATCH_SIZE, width // PATCH_SIZE
    split = frames.reshape(n, rows, PATCH_SIZE, cols, PATCH_SIZE, channels)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(
        n, rows * cols, PATCH_SIZE, PATCH_SIZE, channels
    )
