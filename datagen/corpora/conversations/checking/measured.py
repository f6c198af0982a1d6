"""One pass over the sound of a conversation: its power every 10 ms, its scale, its faults.

Files are decoded in blocks, each once whatever its channels: an hour of stereo is a megabyte here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from microturn.datagen.corpora.checking import Unusable
from microturn.datagen.corpora.conversations.reader import RangeFile
from microturn.datagen.corpora.recordings import FileSound
from microturn.datagen.corpora.waveform import COMPARED_S, only_voice
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import (
    NO_OFFSET,
    SCALED,
    SoundError,
    SoundPiece,
    full_scale,
    sound_blocks,
)

FRAMES_PER_S: Final = 100
BLOCK_S: Final = 30.0
OFFSET_DB: Final = -40.0  # of a constant offset, re the loudest 10 ms: as loud as sound that counts

Power = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class MeasuredSound:
    """One channel of a file, or of a piece of it."""

    sound: FileSound  # with the number of its channel
    n_channels: int  # of the file
    rate: int
    n_samples: int
    power: Power  # mean square of each 10 ms, re full scale, without offset
    scale: float = 1.0  # a sample of full scale, as the file has it
    offset: float = 0.0  # of its samples
    mended: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.n_samples / self.rate


def measured(sounds: Sequence[FileSound]) -> list[MeasuredSound]:
    """Measure the channels of files; raises SoundError or Unusable, which names the file."""
    found: dict[int, MeasuredSound] = {}
    for group in by_file(sounds):
        for number, one in zip(group, _measured([sounds[i] for i in group]), strict=True):
            found[number] = one
    return [found[number] for number in range(len(sounds))]


def by_file(sounds: Sequence[FileSound]) -> list[list[int]]:
    """Group the numbers of sounds that are channels of the same piece of a file."""
    groups: dict[FileSound, list[int]] = {}
    for number, sound in enumerate(sounds):
        groups.setdefault(replace(sound, channel=None), []).append(number)
    return list(groups.values())


def blocks_of(sound: FileSound) -> Iterator[SoundPiece]:
    """Decode all channels of a piece of a file in blocks of `BLOCK_S`."""
    with readable(sound) as source:
        yield from sound_blocks(source, start_s=sound.start_s, end_s=sound.end_s, block_s=BLOCK_S)


@contextmanager
def readable(sound: FileSound) -> Iterator[Path | BinaryIO]:
    """Open the part of a tar that a sound is; else yield the path of its file."""
    if sound.size is None:
        yield sound.path
        return
    if not sound.path.is_file():
        raise SoundError("the file is missing")
    with sound.path.open("rb") as file:
        yield cast(BinaryIO, RangeFile(file, start=sound.offset, size=sound.size))


def _measured(sounds: Sequence[FileSound]) -> list[MeasuredSound]:
    """Measure channels of one piece of one file."""
    tallies: list[_Tally] = []
    n_samples = rate = n_channels = 0
    notes: tuple[str, ...] = ()
    for piece in blocks_of(sounds[0]):
        if not tallies:
            rate, n_channels, notes = piece.rate, piece.samples.shape[1], piece.mended
            tallies = [_Tally(channel=_channel(sound, piece)) for sound in sounds]
        for tally in tallies:
            tally.add(piece.samples[:, tally.channel], rate)
        n_samples += len(piece.samples)
    if not n_samples:
        raise Unusable("empty", f"{sounds[0].place}: it has no samples")
    return [
        tally.result(sound, n_channels=n_channels, rate=rate, n_samples=n_samples, mended=notes)
        for tally, sound in zip(tallies, sounds, strict=True)
    ]


def _channel(sound: FileSound, piece: SoundPiece) -> int:
    """Return the channel of a sound: as stated, or the loudest if all hold one voice."""
    n_channels = piece.samples.shape[1]
    if sound.channel is not None:
        if sound.channel >= n_channels:
            raise SoundError(f"{sound.path.name} has no channel {sound.channel}, but {n_channels}")
        return sound.channel
    begin = piece.samples[: round(COMPARED_S * piece.rate)]
    if only_voice(begin, piece.rate) is None:
        raise SoundError(
            f"the {n_channels} channels of {sound.path.name} hold different sound, and nobody says "
            "which is its speaker's"
        )
    return int(np.square(begin, dtype=np.float64).sum(axis=0).argmax())


@dataclass(kw_only=True)
class _Tally:
    """Sums over the blocks of one channel."""

    channel: int
    sums: list[npt.NDArray[np.float64]] = field(default_factory=list)
    squares: list[npt.NDArray[np.float64]] = field(default_factory=list)
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=list)
    peak: float = 0.0

    def add(self, samples: Audio, rate: int) -> None:
        n = -(-len(samples) * FRAMES_PER_S // rate)
        edges = np.round(np.arange(n + 1) * (rate / FRAMES_PER_S)).astype(np.int64)
        edges[-1] = len(samples)
        edges = np.unique(edges)
        wide = samples.astype(np.float64)
        self.sums.append(np.add.reduceat(wide, edges[:-1]))
        self.squares.append(np.add.reduceat(np.square(wide), edges[:-1]))
        self.lengths.append(np.diff(edges))
        self.peak = max(self.peak, float(np.abs(samples).max()))

    def result(
        self,
        sound: FileSound,
        *,
        n_channels: int,
        rate: int,
        n_samples: int,
        mended: tuple[str, ...],
    ) -> MeasuredSound:
        sums, squares = np.concatenate(self.sums), np.concatenate(self.squares)
        lengths = np.concatenate(self.lengths)
        if not np.isfinite(squares).all():
            raise Unusable("unreadable", f"{sound.place}: it has samples that are not finite")
        scale, notes = full_scale(self.peak)
        offset = float(sums.sum() / n_samples)
        power = (squares - 2 * offset * sums + lengths * offset**2) / lengths
        if offset**2 <= 10 ** (OFFSET_DB / 10) * power.max():
            offset, power = 0.0, squares / lengths
        else:
            notes += (NO_OFFSET,)
        return MeasuredSound(
            sound=replace(sound, channel=self.channel),
            n_channels=n_channels,
            rate=rate,
            n_samples=n_samples,
            power=(power / scale**2).clip(0).astype(np.float32),
            scale=scale,
            offset=offset,
            mended=(*mended, *notes),
        )


def in_full_scale(samples: Audio, one: MeasuredSound) -> Audio:
    """Return the samples of a block of one channel, between -1 and 1 and without offset."""
    if not one.offset and one.scale == 1.0:
        return samples
    clean = (samples - np.float32(one.offset)) / np.float32(one.scale)
    return clean.clip(-1.0, 1.0) if SCALED in one.mended or one.offset else clean


def sound_of(one: MeasuredSound, start_s: float, end_s: float) -> Audio:
    """Decode a part of one channel, times from its start; shorter beyond its end."""
    begin = one.sound.start_s + start_s
    end = min(one.sound.start_s + end_s, one.sound.start_s + one.duration_s)
    with readable(one.sound) as source:
        blocks = [
            in_full_scale(piece.samples[:, one.sound.channel or 0], one)
            for piece in sound_blocks(source, start_s=begin, end_s=end, block_s=BLOCK_S)
        ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
