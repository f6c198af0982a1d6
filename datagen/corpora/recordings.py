"""The output of adapters: recordings as a corpus describes them, before they are checked.

A recording holds a reference to its audio: a list of a million of them fits into memory, and each
is decoded in the worker that checks it.
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
from microturn.datagen.corpora.waveform import only_voice
from microturn.model.streams.pcm import Audio


class SoundError(ValueError):
    """A recording that cannot be read; the text is the reason, without its name."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Mono audio, and the bytes of its file if the recording is a whole mono file."""

    audio: Audio
    rate: int
    data: bytes = b""
    suffix: str = ""


class AudioSource(Protocol):
    """A reference to the audio of a recording; picklable."""

    @property
    def place(self) -> str:
        """File and part, for messages."""

    def decode(self) -> Decoded:
        """Return the audio; raises SoundError when it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class FileSound:
    """An audio file, or a part of one, or one of its channels."""

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None  # from 0; None: not stated, so they must hold one voice

    @property
    def place(self) -> str:
        channel = "" if self.channel is None else f", channel {self.channel}"
        if self.end_s is None and not self.start_s:
            return f"{self.path}{channel}"
        end = "" if self.end_s is None else f"{self.end_s:g}"
        return f"{self.path} [{self.start_s:g}..{end} s]{channel}"

    def decode(self) -> Decoded:
        if not self.path.is_file():
            raise SoundError("the file is missing")
        data = self.path.read_bytes()
        if not data:
            raise SoundError("the file is empty")
        samples, rate = decode_bytes(data)
        if self.start_s or self.end_s is not None:
            last = len(samples) if self.end_s is None else round(self.end_s * rate)
            part = samples[round(self.start_s * rate) : last]
            return Decoded(audio=one_channel(part, rate, self.channel), rate=rate)
        mono, whole = one_channel(samples, rate, self.channel), samples.shape[1] == 1
        suffix = self.path.suffix.lower()
        return Decoded(audio=mono, rate=rate, data=data if whole else b"", suffix=suffix)


def decode_bytes(data: bytes) -> tuple[Audio, int]:
    """Decode a file to samples (n, channels); raises SoundError when it is not audio."""
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SoundError(f"the file cannot be decoded ({error.error_string})") from error
    return samples, int(rate)


def one_channel(samples: Audio, rate: int, channel: int | None = None) -> Audio:
    """Return one of the channels (n, channels); without a number they must hold one voice."""
    if channel is None:
        mono = only_voice(samples, rate)
        if mono is None:
            raise SoundError(
                f"its {samples.shape[1]} channels hold different sound, and the corpus does not "
                "say which one is its speaker's; state the channel, or write one file for each"
            )
    elif channel < samples.shape[1]:
        mono = samples[:, channel]
    else:
        raise SoundError(f"there is no channel {channel}, the file has {samples.shape[1]}")
    return np.ascontiguousarray(mono, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording as its corpus describes it."""

    id: str
    sound: AudioSource
    text: str
    speaker: str = ""  # "": not stated by the corpus
    language: str = ""
    licence: str = ""
    split: str = ""  # train, test, any; "": not stated by the corpus
    words: tuple[AlignedWord, ...] = ()  # times from the start of the recording
    times: Path | None = None  # a file that holds them
    file_id: str = ""  # of the long recording that it is a part of
    tags: frozenset[str] = frozenset()
    key: str = ""  # identifies a phrase across languages
    problem: str = ""  # of its entry; the recording is skipped with this reason


@dataclass(frozen=True, kw_only=True)
class Format:
    """A layout of corpus files, and its reader."""

    name: str
    sign: str  # the files it is recognised by, for messages
    licence: str  # of the corpus that usually has this layout; "": unknown
    language: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, dict[str, str]], Iterator[Recording]]


AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".sph")


def split_named(name: str) -> str:
    """Return the side of a split by its name: all but train is held out; "" for other names."""
    name = name.lower()
    if name.startswith("train"):
        return "train"
    if name.startswith(("test", "dev", "valid", "val", "eval")):
        return "test"
    return ""


def read_text(path: Path) -> str:
    """Read a text file in UTF-8 with or without a byte order mark, or UTF-16 with one."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", errors="replace")
