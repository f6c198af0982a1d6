"""Sound files of conversations by their headers: how many channels they have, and if they open."""

from __future__ import annotations

from pathlib import Path

from microturn.datagen.corpora.recordings import FileSound
from microturn.model.streams.sound_file import SoundError, sound_header


def n_channels(path: Path) -> int:
    """Return the number of channels; ValueError names the file if it cannot be opened."""
    try:
        return sound_header(path).n_channels
    except SoundError as error:
        raise ValueError(f"{path.name}: {error}") from error


def sound_of_one(path: Path) -> FileSound:
    """Return the sound of a file of one person; of several channels none is chosen here.

    ValueError names the file if it cannot be opened.
    """
    return FileSound(path=path, channel=0 if n_channels(path) == 1 else None)
