"""Ids that occur once: of recordings with one id, each gets the name of its file or row as well.

In some corpora the id is that of the sentence, which many people say (FLEURS).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from microturn.datagen.corpora.recordings import FileSound, Recording


def with_unique_ids(recordings: Sequence[Recording]) -> list[Recording]:
    """Return the recordings with ids that depend on ids, files and rows, not on their order."""
    some = list(recordings)
    for names in (_by_file, _by_folder, _by_place):
        counts = Counter(recording.id for recording in some)
        if max(counts.values(), default=1) == 1:
            break
        some = [r if counts[r.id] == 1 else replace(r, id=f"{r.id}-{names(r)}") for r in some]
    return list(_numbered(some))


def _by_file(recording: Recording) -> str:
    sound = recording.sound
    return recording.row or (sound.path.stem if isinstance(sound, FileSound) else "")


def _by_folder(recording: Recording) -> str:
    sound = recording.sound
    return sound.path.parent.name if isinstance(sound, FileSound) else recording.split


def _by_place(recording: Recording) -> str:
    sound = recording.sound
    if not isinstance(sound, FileSound):
        return re.sub(r"\W+", "-", sound.place.rpartition("/")[2])
    channel = "" if sound.channel is None else f"-{sound.channel}"
    return f"{sound.start_s:.2f}{channel}"


def _numbered(recordings: Sequence[Recording]) -> Iterator[Recording]:
    """Number those whose id, file and place are the same: their sound is."""
    seen: Counter[str] = Counter()
    known = {recording.id for recording in recordings}
    for recording in recordings:
        seen[recording.id] += 1
        name, number = recording.id, seen[recording.id]
        while number > 1 and (name := f"{recording.id}-{number}") in known:
            number += 1
        known.add(name)
        yield replace(recording, id=name)
