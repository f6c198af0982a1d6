"""Reads the conversations of corpora: a line when it is asked for, and windows of their sound.

Nothing is read whole: opening reads the lines once for the columns by which conversations are
chosen, and a window of an hour of sound is a range of its file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, gcd
from typing import IO, Any

import numpy as np
import soundfile

from microturn.datagen.corpora.conversations.record import (
    CONVERSATIONS_NAME,
    CorpusConversation,
    Side,
)
from microturn.datagen.corpora.home import folders_of
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.sets.storage import Place, place, size_of
from microturn.model.streams.layout import StreamLayout
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import SoundError, decoding

_MARGIN = 64  # samples of the new rate around a window, more than the filter's length
_ADD = "add the corpus again with `microturn corpus add`"


@dataclass(frozen=True, kw_only=True)
class ConversationRow:
    """What is known of a conversation without reading its line again."""

    id: str
    kind: str
    split: str
    language: str
    duration_s: float
    speakers: tuple[str, ...]
    has_words: tuple[bool, ...]  # for each side of a recorded one


class Conversations:
    """The conversations of one or several corpora, in the order of their files."""

    def __init__(self, folders: Sequence[Place], *, sample_rate: int | None = None) -> None:
        self.sample_rate = sample_rate or StreamLayout().sample_rate
        self.rows: list[ConversationRow] = []
        self._places: list[tuple[Place, int, int]] = []  # file, first byte, length of a line
        self._numbers: dict[str, int] = {}
        for folder in folders:
            path = folder / CONVERSATIONS_NAME
            if path.is_file():
                self._read(path)

    @staticmethod
    def open(names: str, *, sample_rate: int | None = None) -> Conversations:
        """Open those of the corpora named by `corpus=`; corpora may have none.

        Raises ValueError naming file and line where one is wrong, or an id stands there twice.
        """
        return Conversations([place(name) for name in folders_of(names)], sample_rate=sample_rate)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> CorpusConversation:
        path, start, size = self._places[number]
        with _opened(path) as file:
            file.seek(start)
            return CorpusConversation.from_json(json.loads(file.read(size)))

    def __iter__(self) -> Iterator[CorpusConversation]:
        return (self[number] for number in range(len(self)))

    def find(self, conversation_id: str) -> CorpusConversation:
        """Return a conversation by its id; raises KeyError."""
        return self[self._numbers[conversation_id]]

    def sound(
        self, conversation: CorpusConversation, side: Side, start_s: float, end_s: float
    ) -> Audio:
        """Return a window of one side, mono float32 at the sample rate; silence where redacted.

        A window has the same samples wherever it begins. Raises SoundError if the stored file
        cannot be read.
        """
        number = self._numbers[conversation.id]
        tar = self._places[number][0].parent / side.tar
        first, last = round(start_s * self.sample_rate), round(end_s * self.sample_rate)
        audio = self._window(tar, side, first, last)
        for from_s, to_s in conversation.redacted:
            a, b = round(from_s * self.sample_rate) - first, round(to_s * self.sample_rate) - first
            audio[max(a, 0) : max(b, 0)] = 0.0
        return audio

    def _window(self, tar: Place, side: Side, first: int, last: int) -> Audio:
        """Decode samples [first, last) of the new rate; silence beyond the end of the file.

        Reading begins on a frame that both rates share, so that the filter always stands alike.
        """
        common = gcd(self.sample_rate, side.sample_rate)
        up, down = self.sample_rate // common, side.sample_rate // common
        begin = max(floor((first - _MARGIN) / up), 0)  # in steps that both rates share
        end = ceil((last + _MARGIN) / up)
        try:
            with _opened(tar) as file, decoding():
                stored = soundfile.SoundFile(RangeFile(file, start=side.offset, size=side.size))
                with stored:
                    _check_stored(stored, side)
                    stored.seek(min(begin * down, stored.frames))
                    frames = stored.read((end - begin) * down, dtype="float32", always_2d=True)
        except SoundError as error:
            raise SoundError(f"{tar}: {side.member}: {error}; {_ADD}") from error
        audio = resample(
            np.ascontiguousarray(frames[:, side.channel]),
            side.sample_rate,
            new_rate=self.sample_rate,
        )[first - begin * up : last - begin * up]
        return np.pad(audio, (0, last - first - len(audio)))

    def _read(self, path: Place) -> None:
        """Read every line once: check it, and keep its row and its position."""
        ends: dict[str, int] = {}
        at = 0
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                try:
                    found = CorpusConversation.from_json(json.loads(line))
                    if found.id in self._numbers:
                        raise ValueError(f"the id {found.id!r} occurs twice")
                except KeyError as error:
                    raise ValueError(
                        f"{path}, line {number}: field {error} is missing; {_ADD}."
                    ) from error
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{path}, line {number}: {error}; {_ADD}.") from error
                for side in (*found.sides, *found.others):
                    ends[side.tar] = max(ends.get(side.tar, 0), side.offset + side.size)
                self._numbers[found.id] = len(self.rows)
                self._places.append((path, at, len(line)))
                self.rows.append(_row(found))
                at += len(line)
        for name, end in sorted(ends.items()):
            tar = path.parent / name
            if not tar.is_file():
                raise FileNotFoundError(
                    f"{path.parent} lacks {name}, named in {path.name}; {_ADD}."
                )
            if size_of(tar) < end:
                raise ValueError(f"{tar} is shorter than {path.name} says; {_ADD}.")


class RangeFile(io.RawIOBase):
    """A part of a file as a file of its own, for decoders that seek."""

    def __init__(self, file: IO[bytes], *, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        left = max(self._size - self._at, 0)
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(view), left))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _row(found: CorpusConversation) -> ConversationRow:
    return ConversationRow(
        id=found.id,
        kind=found.kind,
        split=found.split,
        language=found.language,
        duration_s=found.duration_s,
        speakers=found.speakers,
        has_words=tuple(bool(side.words) for side in found.sides),
    )


def _check_stored(stored: soundfile.SoundFile, side: Side) -> None:
    if stored.samplerate != side.sample_rate or stored.channels <= side.channel:
        raise SoundError(
            f"it has {stored.channels} channels at {stored.samplerate} Hz, not a channel "
            f"{side.channel} at {side.sample_rate} Hz"
        )


def _opened(path: Place) -> IO[bytes]:
    return path.open("rb")
