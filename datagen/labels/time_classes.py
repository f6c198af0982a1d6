"""How the times of a word are known."""

from __future__ import annotations

from typing import Final

GIVEN: Final = "given"  # stated by the corpus
ALIGNED: Final = "aligned"  # found in the sound: by the aligner, or the edges of the only word
INTERPOLATED: Final = "interpolated"  # placed by its length between known times close together
UNKNOWN: Final = "unknown"  # one or several words somewhere in their span
TIME_CLASSES: Final = (ALIGNED, GIVEN, INTERPOLATED, UNKNOWN)
KNOWN: Final = frozenset({ALIGNED, GIVEN})


def check_times(times: str) -> None:
    """Raise ValueError for a name that is no class of word times."""
    if times not in TIME_CLASSES:
        raise ValueError(f"field 'times' is {times!r}, not one of {', '.join(TIME_CLASSES)}")
