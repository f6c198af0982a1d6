"""Digits and capital letters as strokes in a unit box, y downwards."""

from __future__ import annotations

import math
from typing import Final

Stroke = tuple[tuple[float, float], ...]


def _arc(
    cx: float, cy: float, rx: float, ry: float, first: float, last: float
) -> list[tuple[float, float]]:
    """Return points on an ellipse between two angles in degrees: 0 right, 90 bottom."""
    n = max(4, round(abs(last - first) / 22.5))
    angles = [math.radians(first + (last - first) * i / n) for i in range(n + 1)]
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def _strokes(*lines: list[tuple[float, float]]) -> tuple[Stroke, ...]:
    return tuple(tuple(line) for line in lines)


GLYPHS: Final[dict[str, tuple[Stroke, ...]]] = {
    "0": _strokes(_arc(0.5, 0.5, 0.38, 0.5, 0, 360)),
    "1": _strokes([(0.25, 0.22), (0.55, 0.0), (0.55, 1.0)]),
    "2": _strokes([*_arc(0.5, 0.29, 0.38, 0.29, 190, 395), (0.1, 1.0), (0.92, 1.0)]),
    "3": _strokes(_arc(0.45, 0.25, 0.37, 0.25, 205, 450), _arc(0.45, 0.75, 0.42, 0.25, 270, 515)),
    "4": _strokes([(0.72, 1.0), (0.72, 0.0), (0.06, 0.68), (0.96, 0.68)]),
    "5": _strokes([(0.88, 0.0), (0.2, 0.0), (0.15, 0.46), *_arc(0.46, 0.68, 0.42, 0.32, 232, 510)]),
    "6": _strokes(
        _arc(0.5, 0.68, 0.38, 0.32, 0, 360), [(0.74, 0.0), (0.42, 0.2), (0.18, 0.46), (0.12, 0.68)]
    ),
    "7": _strokes([(0.08, 0.0), (0.92, 0.0), (0.35, 1.0)]),
    "8": _strokes(_arc(0.5, 0.24, 0.32, 0.24, 0, 360), _arc(0.5, 0.74, 0.4, 0.26, 0, 360)),
    "9": _strokes(
        _arc(0.5, 0.32, 0.38, 0.32, 0, 360), [(0.88, 0.32), (0.82, 0.54), (0.58, 0.8), (0.26, 1.0)]
    ),
    "A": _strokes([(0.04, 1.0), (0.5, 0.0), (0.96, 1.0)], [(0.2, 0.66), (0.8, 0.66)]),
    "B": _strokes(
        [(0.12, 0.0), (0.12, 1.0)],
        [(0.12, 0.0), *_arc(0.5, 0.24, 0.34, 0.24, 270, 450), (0.12, 0.48)],
        [(0.12, 0.48), *_arc(0.52, 0.74, 0.4, 0.26, 270, 450), (0.12, 1.0)],
    ),
    "C": _strokes(_arc(0.55, 0.5, 0.45, 0.5, -45, -315)),
    "D": _strokes([(0.12, 1.0), (0.12, 0.0), *_arc(0.42, 0.5, 0.48, 0.5, 270, 450), (0.12, 1.0)]),
    "E": _strokes([(0.9, 0.0), (0.12, 0.0), (0.12, 1.0), (0.9, 1.0)], [(0.12, 0.5), (0.75, 0.5)]),
    "F": _strokes([(0.9, 0.0), (0.12, 0.0), (0.12, 1.0)], [(0.12, 0.5), (0.75, 0.5)]),
    "G": _strokes([*_arc(0.52, 0.5, 0.44, 0.5, -45, -360), (0.58, 0.5)]),
    "H": _strokes([(0.1, 0.0), (0.1, 1.0)], [(0.9, 0.0), (0.9, 1.0)], [(0.1, 0.5), (0.9, 0.5)]),
    "I": _strokes([(0.5, 0.0), (0.5, 1.0)], [(0.2, 0.0), (0.8, 0.0)], [(0.2, 1.0), (0.8, 1.0)]),
    "J": _strokes([(0.8, 0.0), *_arc(0.47, 0.7, 0.33, 0.3, 0, 180)]),
    "K": _strokes(
        [(0.12, 0.0), (0.12, 1.0)], [(0.9, 0.0), (0.12, 0.6)], [(0.38, 0.4), (0.92, 1.0)]
    ),
    "L": _strokes([(0.15, 0.0), (0.15, 1.0), (0.9, 1.0)]),
    "M": _strokes([(0.05, 1.0), (0.05, 0.0), (0.5, 0.6), (0.95, 0.0), (0.95, 1.0)]),
    "N": _strokes([(0.1, 1.0), (0.1, 0.0), (0.9, 1.0), (0.9, 0.0)]),
    "O": _strokes(_arc(0.5, 0.5, 0.48, 0.5, 0, 360)),
    "P": _strokes([(0.12, 1.0), (0.12, 0.0), *_arc(0.5, 0.28, 0.38, 0.28, 270, 450), (0.12, 0.56)]),
    "Q": _strokes(_arc(0.5, 0.5, 0.48, 0.5, 0, 360), [(0.48, 0.6), (1.02, 1.1)]),
    "R": _strokes(
        [(0.12, 1.0), (0.12, 0.0), *_arc(0.5, 0.27, 0.38, 0.27, 270, 450), (0.12, 0.54)],
        [(0.45, 0.54), (0.92, 1.0)],
    ),
    "S": _strokes(
        [*_arc(0.5, 0.25, 0.38, 0.25, -30, -270), *_arc(0.5, 0.75, 0.42, 0.25, 270, 510)]
    ),
    "T": _strokes([(0.05, 0.0), (0.95, 0.0)], [(0.5, 0.0), (0.5, 1.0)]),
    "U": _strokes([(0.1, 0.0), *_arc(0.5, 0.66, 0.4, 0.34, 180, 0), (0.9, 0.0)]),
    "V": _strokes([(0.05, 0.0), (0.5, 1.0), (0.95, 0.0)]),
    "W": _strokes([(0.02, 0.0), (0.27, 1.0), (0.5, 0.35), (0.73, 1.0), (0.98, 0.0)]),
    "X": _strokes([(0.08, 0.0), (0.92, 1.0)], [(0.92, 0.0), (0.08, 1.0)]),
    "Y": _strokes([(0.05, 0.0), (0.5, 0.5), (0.95, 0.0)], [(0.5, 0.5), (0.5, 1.0)]),
    "Z": _strokes([(0.08, 0.0), (0.92, 0.0), (0.08, 1.0), (0.92, 1.0)]),
}
ASPECT: Final = 0.62  # width of a glyph to its height
SPACE: Final = 0.3  # between two glyphs, in widths


def strokes_of(text: str) -> list[Stroke]:
    """Return the strokes of a text of height one around the origin."""
    width = ASPECT * (len(text) + SPACE * (len(text) - 1))
    strokes = []
    for position, character in enumerate(text):
        left = position * ASPECT * (1 + SPACE) - width / 2
        for stroke in GLYPHS[character]:
            strokes.append(tuple((left + ASPECT * x, y - 0.5) for x, y in stroke))
    return strokes
