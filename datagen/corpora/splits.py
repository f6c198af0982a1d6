"""Which side of the split a recording is on: as the corpus says, else by a hash of its speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from microturn.datagen.corpora.recordings import Recording


def share_of(name: str) -> float:
    """A number from 0 to 1 that only depends on the name."""
    return int.from_bytes(sha256(f"split/{name}".encode()).digest()[:8], "big") / 2**64


def with_splits(recordings: Sequence[Recording], *, test_share: float) -> list[Recording]:
    """Every recording with its side; a speaker is on one side only.

    What the corpus states holds, but for a speaker on both of its sides: those stay on the held-out
    side and are a problem on the other. Speakers of whom it states nothing are held out when the
    hash of their name is below `test_share`, at least one of several. A recording by nobody in
    particular goes by its own name.
    """
    stated: dict[str, set[str]] = {}
    for recording in recordings:
        stated.setdefault(recording.speaker, set()).add(recording.split)
    free = sorted(name for name, sides in stated.items() if name and sides == {""})
    held_out = {name for name in free if share_of(name) < test_share}
    if not held_out and len(free) == len(stated) > 1 and test_share > 0:
        held_out = {min(free, key=share_of)}
    return [_placed(r, stated[r.speaker], held_out, test_share) for r in recordings]


def _placed(
    recording: Recording, sides: set[str], held_out: set[str], test_share: float
) -> Recording:
    if not recording.speaker:
        share = share_of(recording.id)
        return replace(
            recording, split=recording.split or ("test" if share < test_share else "train")
        )
    if {"train", "test"} <= sides and recording.split != "test":
        problem = f"its speaker {recording.speaker} is held out by the corpus' own split"
        return replace(recording, split="test", problem=recording.problem or problem)
    if recording.split:
        return recording
    known = sides - {""}
    if known:
        return replace(recording, split=min(known))
    return replace(recording, split="test" if recording.speaker in held_out else "train")
