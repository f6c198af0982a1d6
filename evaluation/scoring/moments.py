"""The order of moments in seconds; moments closer than SAME_S are the same."""

from __future__ import annotations

from typing import Final

from microturn.datagen.labels.dialogue import SAME_S as SAME_S

FRAME_S: Final = 0.02  # by which speech on frames may begin before its label
_LEAD_S: Final = 0.25  # a token may come a micro-turn before its sound; times are floats


def same(first_s: float, second_s: float) -> bool:
    """Whether both are one moment."""
    return abs(first_s - second_s) < SAME_S


def before(first_s: float, second_s: float) -> bool:
    """Whether the first comes earlier and is another moment."""
    return first_s < second_s - SAME_S


def after(first_s: float, second_s: float) -> bool:
    """Whether the first comes later and is another moment."""
    return first_s > second_s + SAME_S


def within(moment_s: float, first_s: float, last_s: float) -> bool:
    """Whether a moment lies between two others or is one of them."""
    return first_s - SAME_S <= moment_s <= last_s + SAME_S


def begins_in(moment_s: float, start_s: float, end_s: float) -> bool:
    """Whether what begins at a moment begins in a span, its end excluded."""
    return start_s - SAME_S <= moment_s < end_s - SAME_S


def lead(moment_s: float) -> float:
    """The earliest time that a token of a word sounding at `moment_s` may carry."""
    return moment_s - _LEAD_S
