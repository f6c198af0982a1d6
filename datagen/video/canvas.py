"""Draws anti-aliased shapes on an RGB image, by their distance to each pixel's centre."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]  # (H, W, 3), 0 to 1
Point = tuple[float, float]  # x to the right, y downwards, in pixels
Colour = tuple[float, float, float]
MIN_RADIUS = 0.55  # in pixels


class Canvas:
    """An image to draw on; shapes outside it are clipped."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._height, self._width = image.shape[:2]

    def line(
        self, a: Point, b: Point, *, radius: float, colour: Colour, opacity: float = 1.0
    ) -> None:
        """Draw a stroke with round ends."""
        radius = max(radius, MIN_RADIUS)
        box = self._box(a, b, radius + 1.0)
        if box is None:
            return
        top, bottom, left, right = box
        x, y = _centres(left, right), _centres(top, bottom)[:, None]
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = dx * dx + dy * dy
        px, py = x - np.float32(a[0]), y - np.float32(a[1])
        if length > 1e-9:
            along = np.clip((px * np.float32(dx) + py * np.float32(dy)) / np.float32(length), 0, 1)
            px, py = px - along * np.float32(dx), py - along * np.float32(dy)
        self._blend(box, np.sqrt(px * px + py * py) - np.float32(radius), colour, opacity)

    def disc(self, centre: Point, *, radius: float, colour: Colour, opacity: float = 1.0) -> None:
        self.line(centre, centre, radius=radius, colour=colour, opacity=opacity)

    def box(
        self, centre: Point, half: Point, *, angle: float, colour: Colour, opacity: float = 1.0
    ) -> None:
        """Draw a filled rectangle, rotated by `angle` radians."""
        reach = math.hypot(*half) + 1.0
        box = self._box(centre, centre, reach)
        if box is None:
            return
        top, bottom, left, right = box
        x = _centres(left, right) - np.float32(centre[0])
        y = _centres(top, bottom)[:, None] - np.float32(centre[1])
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        across = np.abs(x * cos + y * sin) - np.float32(half[0])
        down = np.abs(y * cos - x * sin) - np.float32(half[1])
        self._blend(box, np.maximum(across, down), colour, opacity)

    def _box(self, a: Point, b: Point, reach: float) -> tuple[int, int, int, int] | None:
        left = max(0, math.floor(min(a[0], b[0]) - reach))
        right = min(self._width, math.ceil(max(a[0], b[0]) + reach))
        top = max(0, math.floor(min(a[1], b[1]) - reach))
        bottom = min(self._height, math.ceil(max(a[1], b[1]) + reach))
        return (top, bottom, left, right) if left < right and top < bottom else None

    def _blend(
        self, box: tuple[int, int, int, int], outside: Image, colour: Colour, opacity: float
    ) -> None:
        """Blend a colour where the distance to the shape is under half a pixel."""
        top, bottom, left, right = box
        cover = np.clip(np.float32(0.5) - outside, 0, 1) * np.float32(opacity)
        region = self.image[top:bottom, left:right]
        region += cover[..., None] * (np.array(colour, np.float32) - region)


def _centres(first: int, last: int) -> Image:
    return np.arange(first, last, dtype=np.float32) + np.float32(0.5)
