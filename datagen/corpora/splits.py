"""Assigns recordings to train or test: as the corpus states, else by a hash of the speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from microturn.datagen.corpora.recordings import Recording


def share_of(name: str) -> float:
    """Return a number from 0 to 1 that depends on the name only."""
    return int.from_bytes(sha256(f"split/{name}".encode()).digest()[:8], "big") / 2**64


def with_splits(recordings: Sequence[Recording], *, test_share: float) -> list[Recording]:
    """Assign every recording to a side; a speaker is on one side only.

    The split of the corpus holds, except for speakers on both of its sides: their held-out
    recordings are kept, the others are skipped. Speakers without a stated split are held out when
    the hash of their name is below `test_share`, at least one of several. A recording without a
    speaker is trained on, unless the corpus says otherwise: held out means people.
    """
    stated: dict[str, set[str]] = {}
    for recording in recordings:
        stated.setdefault(recording.speaker, set()).add(recording.split)
    free = sorted(name for name, sides in stated.items() if name and sides == {""})
    held_out = {name for name in free if share_of(name) < test_share}
    if not held_out and len(free) == len(stated) > 1 and test_share > 0:
        held_out = {min(free, key=share_of)}
    return [_placed(r, stated[r.speaker], held_out) for r in recordings]


def _placed(recording: Recording, sides: set[str], held_out: set[str]) -> Recording:
    if not recording.speaker:
        return replace(recording, split=recording.split or "train")
    if {"train", "test"} <= sides and recording.split != "test":
        problem = f"its speaker {recording.speaker} is held out by the corpus' own split"
        return replace(recording, split="test", problem=recording.problem or problem)
    if recording.split:
        return recording
    known = sides - {""}
    if known:
        return replace(recording, split=min(known))
    return replace(recording, split="test" if recording.speaker in held_out else "train")
