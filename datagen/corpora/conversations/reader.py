"""Reads the conversations of corpora: a line when it is asked for, and windows of their sound.

Nothing is read whole: conversations are chosen by columns that are mapped into memory, and a window
of an hour of sound is a range of its file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from math import ceil, floor, gcd
from typing import IO, Any

import numpy as np
import soundfile

from microturn.datagen.corpora.conversations.columns import (
    ADD_AGAIN,
    ConversationColumns,
    ConversationRows,
)
from microturn.datagen.corpora.conversations.record import (
    CONVERSATIONS_NAME,
    CorpusConversation,
    Side,
)
from microturn.datagen.corpora.home import folders_of
from microturn.datagen.corpora.index.packed_lines import lines_file
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.sets.storage import Place, place, size_of
from microturn.model.streams.layout import StreamLayout
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import SoundError, decoding

_MARGIN = 64  # samples of the new rate around a window, more than the filter's length


class Conversations:
    """The conversations of one or several corpora, in the order of their files."""

    def __init__(self, folders: Sequence[Place], *, sample_rate: int | None = None) -> None:
        self.sample_rate = sample_rate or StreamLayout().sample_rate
        paths = dict.fromkeys(lines_file(folder, CONVERSATIONS_NAME) for folder in folders)
        self._files = [ConversationColumns(path) for path in paths if path.is_file()]
        self.rows = ConversationRows(self._files)
        _check_ids(self._files)
        for file in self._files:
            _check_tars(file)

    @staticmethod
    def open(names: str, *, sample_rate: int | None = None) -> Conversations:
        """Open those of the corpora named by `corpus=`; corpora may have none.

        Raises ValueError naming file and line where one is wrong, or an id stands there twice.
        """
        return Conversations([place(name) for name in folders_of(names)], sample_rate=sample_rate)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> CorpusConversation:
        file, row = self.rows.place(number)
        return file.conversation(row)

    def __iter__(self) -> Iterator[CorpusConversation]:
        return (self[number] for number in range(len(self)))

    @property
    def people(self) -> set[str]:
        """Everybody who speaks in some conversation."""
        return set[str]().union(*(file.people for file in self._files))

    def find(self, conversation_id: str) -> CorpusConversation:
        """Return a conversation by its id; raises KeyError."""
        file, row = self._place(conversation_id)
        return file.conversation(row)

    def sound(
        self, conversation: CorpusConversation, side: Side, start_s: float, end_s: float
    ) -> Audio:
        """Return a window of one side, mono float32 at the sample rate; silence where redacted.

        A window has the same samples wherever it begins. Raises SoundError if the stored file
        cannot be read.
        """
        tar = self._place(conversation.id)[0].file.parent / side.tar
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
            raise SoundError(f"{tar}: {side.member}: {error}; {ADD_AGAIN}") from error
        audio = resample(
            np.ascontiguousarray(frames[:, side.channel]),
            side.sample_rate,
            new_rate=self.sample_rate,
        )[first - begin * up : last - begin * up]
        return np.pad(audio, (0, last - first - len(audio)))

    def _place(self, conversation_id: str) -> tuple[ConversationColumns, int]:
        """Return the file of a conversation, and its row there."""
        for file in self._files:
            if (row := file.row_of(conversation_id)) >= 0:
                return file, row
        raise KeyError(f"there is no conversation {conversation_id!r}")


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


def _check_ids(files: Sequence[ConversationColumns]) -> None:
    """Raise ValueError if a conversation stands in two files."""
    for number, file in enumerate(files):
        for other in files[:number]:
            twice = next((name for name in file.ids if other.ids.code(name) >= 0), None)
            if twice is not None:
                raise ValueError(
                    f"{file.file} and {other.file} both have the id {twice!r}; add one of them "
                    "under another name"
                )


def _check_tars(file: ConversationColumns) -> None:
    """Raise an error if a tar is missing, or shorter than the lines say."""
    for name, end in file.tar_ends():
        tar = file.file.parent / name
        if not tar.is_file():
            raise FileNotFoundError(
                f"{file.file.parent} lacks {name}, named in {file.file.name}; {ADD_AGAIN}."
            )
        if size_of(tar) < end:
            raise ValueError(f"{tar} is shorter than {file.file.name} says; {ADD_AGAIN}.")


def _check_stored(stored: soundfile.SoundFile, side: Side) -> None:
    if stored.samplerate != side.sample_rate or stored.channels <= side.channel:
        raise SoundError(
            f"it has {stored.channels} channels at {stored.samplerate} Hz, not a channel "
            f"{side.channel} at {side.sample_rate} Hz"
        )


def _opened(path: Place) -> IO[bytes]:
    return path.open("rb")
