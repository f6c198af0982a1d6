"""What an adapter yields: one recording as a corpus has it, before it is checked and stored.

A recording holds no sound, only where it is: a list of a million of them fits into memory, and
each is decoded in the worker that checks it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from microturn.datagen.corpora.manifest import AlignedWord
from microturn.model.streams.pcm import Audio


class SoundError(ValueError):
    """A recording that cannot be read; the text is the reason, without its name."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Mono sound, and the bytes of its file where the recording is that whole file."""

    audio: Audio
    rate: int
    data: bytes = b""
    suffix: str = ""


class AudioSource(Protocol):
    """Where the sound of a recording is; picklable."""

    @property
    def place(self) -> str:
        """File and part, for messages."""

    def decode(self) -> Decoded:
        """The sound; raises SoundError when it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class FileSound:
    """An audio file, or a part of one, or one of its channels."""

    path: Path
    start: float = 0.0
    end: float | None = None
    channel: int | None = None  # from 0; None: the mean of all

    @property
    def place(self) -> str:
        if self.end is None and not self.start:
            return str(self.path)
        return f"{self.path} [{self.start:g}..{'' if self.end is None else f'{self.end:g}'} s]"

    def decode(self) -> Decoded:
        if not self.path.is_file():
            raise SoundError("the file is missing")
        data = self.path.read_bytes()
        if not data:
            raise SoundError("the file is empty")
        samples, rate = decode_bytes(data)
        mono = _one_channel(samples, self.channel)
        if self.start or self.end is not None:
            last = len(mono) if self.end is None else round(self.end * rate)
            return Decoded(audio=mono[round(self.start * rate) : last], rate=rate)
        whole = samples.shape[1] == 1
        suffix = self.path.suffix.lower()
        return Decoded(audio=mono, rate=rate, data=data if whole else b"", suffix=suffix)


def decode_bytes(data: bytes) -> tuple[Audio, int]:
    """Samples (n, channels) of an encoded file; SoundError when it is none."""
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SoundError(f"the file cannot be decoded ({error.error_string})") from error
    return samples, int(rate)


def _one_channel(samples: Audio, channel: int | None) -> Audio:
    if channel is None:
        mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    elif channel < samples.shape[1]:
        mono = samples[:, channel]
    else:
        raise SoundError(f"there is no channel {channel}, the file has {samples.shape[1]}")
    return np.ascontiguousarray(mono, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Who says what, where its sound is, and what else the corpus tells."""

    id: str
    sound: AudioSource
    text: str
    speaker: str = ""  # "": the corpus does not say
    language: str = ""
    licence: str = ""
    split: str = ""  # train, test, any; "": the corpus does not say
    words: tuple[AlignedWord, ...] = ()  # times from the start of the recording
    tags: frozenset[str] = frozenset()
    key: str = ""  # the same in every language for the same phrase
    problem: str = ""  # what is wrong with its entry; it is skipped with this reason


@dataclass(frozen=True, kw_only=True)
class Format:
    """One layout of files that can be read."""

    name: str
    sign: str  # what it is known by, for messages
    licence: str  # of the corpus that is usually laid out so; "": not known
    language: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, dict[str, str]], Iterator[Recording]]


AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".sph")


def split_named(name: str) -> str:
    """The side of a split of this name: all but train is held out; "" for what is no split."""
    name = name.lower()
    if name.startswith("train"):
        return "train"
    if name.startswith(("test", "dev", "valid", "val", "eval")):
        return "test"
    return ""


def read_text(path: Path) -> str:
    """A text file, in UTF-8 with or without a mark, or UTF-16 with one."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", errors="replace")
