"""The output of adapters: recordings as a corpus describes them, before they are checked.

A recording holds a reference to its audio: a list of a million of them fits into memory, and each
is decoded in the worker that checks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from microturn.configs.reading import decoded_text
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.waveform import only_voice
from microturn.datagen.sets.storage import read_range
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import (
    SoundError,
    SoundPiece,
    read_sound,
    without_offset,
)

KEPT_AS_THEY_ARE = (".flac", ".mp3", ".ogg", ".opus")  # compressed: stored unchanged


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Mono audio, and the bytes of its file if they can be stored unchanged."""

    audio: Audio
    rate: int
    data: bytes = b""
    suffix: str = ""
    mended: tuple[str, ...] = ()  # faults of the file


class AudioSource(Protocol):
    """A reference to the audio of a recording; picklable."""

    @property
    def place(self) -> str:
        """File and part, for messages."""

    def decode(self, *, longest_s: float = inf) -> Decoded:
        """Return the audio; raises SoundError when it cannot be read, or is longer than that."""


@dataclass(frozen=True, kw_only=True)
class FileSound:
    """An audio file, or a part of one, or one of its channels."""

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None  # from 0; None: not stated, so they must hold one voice
    member: str = ""  # of a tar: its name, first byte and length
    offset: int = 0
    size: int | None = None

    @property
    def place(self) -> str:
        channel = "" if self.channel is None else f", channel {self.channel}"
        file = f"{self.path}:{self.member}" if self.member else str(self.path)
        if self.end_s is None and not self.start_s:
            return f"{file}{channel}"
        end = "" if self.end_s is None else f"{self.end_s:g}"
        return f"{file} [{self.start_s:g}..{end} s]{channel}"

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its file, or all channels of it but one."""
        return self.end_s is None and not self.start_s

    def decode(self, *, longest_s: float = inf) -> Decoded:
        source = self.path if self.size is None else self.read_bytes()
        piece = read_sound(source, start_s=self.start_s, end_s=self.end_s, longest_s=longest_s)
        keep = self.is_whole and self.suffix in KEPT_AS_THEY_ARE
        data = self.read_bytes() if keep else b""
        return decoded(piece, channel=self.channel, data=data, suffix=self.suffix)

    @property
    def suffix(self) -> str:
        return Path(self.member or self.path).suffix.lower()

    def read_bytes(self) -> bytes:
        """Return the bytes of the file, or of the member of a tar."""
        if self.size is None:
            return self.path.read_bytes()
        return bytes(read_range(self.path, start=self.offset, size=self.size))


def decoded(
    piece: SoundPiece, *, channel: int | None = None, data: bytes = b"", suffix: str = ""
) -> Decoded:
    """Reduce a piece to one channel without offset; what was mended cannot be stored unchanged."""
    mono = one_channel(piece.samples, piece.rate, channel)
    audio, offset = without_offset(mono, piece.rate)
    mended = (*piece.mended, *offset)
    if mended or piece.samples.shape[1] > 1 or suffix not in KEPT_AS_THEY_ARE:
        data = b""
    return Decoded(audio=audio, rate=piece.rate, data=data, suffix=suffix, mended=mended)


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
    row: str = ""  # of its table; tells it from others of the same id
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
    named_columns: bool = False  # whether `columns.FIELD=NAME` says where its fields are


AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".sph")


_SIDES = {"train": "train", "training": "train", "trn": "train"} | dict.fromkeys(
    (
        *("test", "testing", "dev", "devel", "development"),
        *("valid", "validation", "val", "eval", "evaluation"),
    ),
    "test",
)
_MORE = re.compile(
    r"\d*|of|set|data|clean|other|seen|unseen|manifest|metadata|cuts|supervisions|recordings|all"
)


def split_named(name: str) -> str:
    """Return the side of a split by its name: all but train is held out; "" for other names.

    The first word decides: `train-clean-100`, `dev93`, `eval2000`, but not `valerie` or `devon`.
    """
    word = re.match(r"([a-z]+?)(?:sets?)?(?![a-z])", name.lower())
    return _SIDES.get(word[1], "") if word else ""


def split_folder(name: str) -> str:
    """Return the side of a split by the name of a folder that may also be a speaker's.

    Nothing but signs of a split may follow the first word: `dev_patel` is nobody's split.
    """
    rest = re.split(r"[^a-z0-9]+", name.lower())[1:]
    known = all(_MORE.fullmatch(word) or split_named(word) for word in rest)
    return split_named(name) if known else ""


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or with the mark of UTF-16; else ValueError names it."""
    return decoded_text(path.read_bytes(), path)


def text_beside(path: Path | None) -> tuple[str, str]:
    """Read the text of one recording; returns it, and the reason if it cannot be read."""
    if path is None or not path.is_file():
        return "", ""
    try:
        return read_text(path).strip(), ""
    except (ValueError, OSError) as error:
        return "", str(error)


def writable(recording: Recording) -> Recording:
    """Escape bytes of names that are not in UTF-8, which no file of ours could hold."""
    names = ("id", "speaker", "language", "licence", "split", "key", "problem")
    changes: dict[str, Any] = {
        name: escape(text) for name in names if escape(text := getattr(recording, name)) != text
    }
    if escape(recording.text) != recording.text:
        changes |= {"text": "", "problem": "its text has half of a character"}
    return replace(recording, **changes) if changes else recording


def escape(text: str) -> str:
    """Return a text that can be written in UTF-8, the same in every locale of the machine.

    Python keeps bytes of file names that its locale cannot decode as halves of characters.
    """
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # halves that come from JSON
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
