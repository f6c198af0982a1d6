"""Writes the sound of a conversation as it is stored: FLAC files, or the bytes of compressed ones.

Sides that are channels of one file are channels of one stored file. Samples are written in blocks,
so that no length fills memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from microturn.datagen.corpora.conversations.checking.activity import Frames
from microturn.datagen.corpora.conversations.checking.measured import (
    FRAMES_PER_S,
    MeasuredSound,
    blocks_of,
    by_file,
    in_full_scale,
)
from microturn.datagen.corpora.manifest import resample
from microturn.model.streams.pcm import Audio

# Compressed files that any part can be read of without the rest: kept as they are.
SEEKABLE: Final = (".flac", ".ogg", ".opus")
MARGIN: Final = (
    64  # samples of the new rate on both sides of a block, more than the filter's length
)


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file to be put into a tar, and which of the sounds are its channels."""

    path: Path
    is_draft: bool  # written for the tar alone, and removed afterwards
    offset: int  # of its bytes in `path`
    size: int
    suffix: str
    rate: int
    digest: str
    channels: dict[int, int]  # number of the sound to the number of its channel


def stored_files(
    sounds: Sequence[MeasuredSound],
    muted: Sequence[Frames | None],
    *,
    max_rate: int,
    folder: Path,
    name: str,
) -> list[StoredFile]:
    """Write what cannot be kept as it is into a folder; returns the files of a conversation."""
    files = []
    for number, found in enumerate(by_file([one.sound for one in sounds])):
        # Channels stand as in their file, so that every pair of a meeting has the same bytes.
        group = sorted(found, key=lambda i: sounds[i].sound.channel or 0)
        # In the order of the file, which is the same for all pairs of a meeting.
        group = sorted(group, key=lambda i: sounds[i].sound.channel or 0)
        some, masks = [sounds[i] for i in group], [muted[i] for i in group]
        rate = min(some[0].rate, max_rate or some[0].rate)
        if _can_be_kept(some, masks, rate):
            files.append(_kept(some, group))
            continue
        path = folder / f"{name}-{number}.flac"
        digest = _write(path, some, masks, rate)
        files.append(
            StoredFile(
                path=path,
                is_draft=True,
                offset=0,
                size=path.stat().st_size,
                suffix=".flac",
                rate=rate,
                digest=digest,
                channels={sound: channel for channel, sound in enumerate(group)},
            )
        )
    return files


def _can_be_kept(
    sounds: Sequence[MeasuredSound], masks: Sequence[Frames | None], rate: int
) -> bool:
    sound = sounds[0].sound
    changed = any(one.mended for one in sounds) or any(mask is not None for mask in masks)
    used = sounds[0].n_channels == len(sounds)  # others would be stored for nobody
    seekable = sound.is_whole and sound.suffix in SEEKABLE
    return used and seekable and rate == sounds[0].rate and not changed


def _kept(sounds: Sequence[MeasuredSound], group: Sequence[int]) -> StoredFile:
    sound = sounds[0].sound
    size = sound.path.stat().st_size if sound.size is None else sound.size
    digest = sha256()
    with sound.path.open("rb") as file:
        file.seek(sound.offset)
        left = size
        while left and (piece := file.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
    return StoredFile(
        path=sound.path,
        is_draft=False,
        offset=sound.offset,
        size=size,
        suffix=sound.suffix,
        rate=sounds[0].rate,
        digest=digest.hexdigest(),
        channels={
            number: one.sound.channel or 0 for number, one in zip(group, sounds, strict=True)
        },
    )


def _write(
    path: Path, sounds: Sequence[MeasuredSound], masks: Sequence[Frames | None], rate: int
) -> str:
    """Write a FLAC file with a channel for each sound; returns the digest of its bytes."""
    with soundfile.SoundFile(
        path, "w", samplerate=rate, channels=len(sounds), format="FLAC", subtype="PCM_16"
    ) as file:
        for block in _resampled(_cleaned(sounds, masks), sounds[0].rate, rate):
            file.write(np.clip(block, -1.0, 1.0))
    digest = sha256()
    with path.open("rb") as stored:
        while piece := stored.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _cleaned(sounds: Sequence[MeasuredSound], masks: Sequence[Frames | None]) -> Iterator[Audio]:
    """Yield blocks (n, sounds): in full scale, and silent where they are muted."""
    begin = 0
    for piece in blocks_of(sounds[0].sound):
        columns = []
        for one, mask in zip(sounds, masks, strict=True):
            samples = in_full_scale(piece.samples[:, one.sound.channel or 0], one)
            if mask is not None:
                samples = samples * _gain(mask, begin, len(samples), one.rate)
            columns.append(samples)
        begin += len(piece.samples)
        yield np.stack(columns, axis=1)


def _gain(muted: Frames, begin: int, n: int, rate: int) -> Audio:
    """Return the gain of samples, which moves between 0 and 1 within a frame."""
    place = (np.arange(begin, begin + n) + 0.5) * (FRAMES_PER_S / rate) - 0.5
    first, last = int(place[0]) - 1, int(place[-1]) + 2
    frames = np.clip(np.arange(first, last + 1), 0, len(muted) - 1)
    gain = np.interp(place, np.arange(first, last + 1), (~muted[frames]).astype(np.float32))
    return gain.astype(np.float32)


def _resampled(blocks: Iterator[Audio], rate: int, new_rate: int) -> Iterator[Audio]:
    """Resample block by block with the samples of the whole: each block gets its neighbours."""
    if rate == new_rate:
        yield from blocks
        return
    common = gcd(rate, new_rate)
    up, down = new_rate // common, rate // common
    margin = -(-MARGIN // up) * down  # samples of the old rate, at a border that both rates share
    before: Audio | None = None  # samples before the block that is to be resampled next
    waiting: Audio | None = None
    for block in blocks:
        if waiting is not None:
            yield _piece(before, waiting, block[:margin], rate, new_rate)
            before = waiting[-margin:]
        waiting = block
    if waiting is not None:
        yield _piece(before, waiting, waiting[:0], rate, new_rate)


def _piece(before: Audio | None, block: Audio, after: Audio, rate: int, new_rate: int) -> Audio:
    """Resample a block between what is before and after it; blocks begin where both rates do."""
    parts = [block, after] if before is None else [before, block, after]
    skipped = 0 if before is None else round(len(before) * new_rate / rate)
    whole = np.concatenate(parts)
    n = -(-len(block) * new_rate // rate)
    columns = [
        resample(np.ascontiguousarray(column), rate, new_rate=new_rate)[skipped : skipped + n]
        for column in whole.T
    ]
    return np.stack(columns, axis=1)
