"""A FLAC encoder for 16-bit channels that are mostly silent or repetitive.

A frame of FLAC (RFC 9639) depends on its samples and its number only. Frames of digital silence,
and of a recorded word that begins at the same position within a frame, are encoded once: libFLAC
encodes new blocks, and they are combined with stored frames under their new numbers. Other
channels are encoded as a whole.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soundfile

LEVEL = 0.4  # slightly faster than libsndfile's default, for hardly more bytes
_BLOCK = 4096  # samples per frame of libFLAC at this level
# Bytes of the STREAMINFO block, which every stream begins with (RFC 9639, section 8.2).
_FRAME_SIZES = slice(12, 18)  # smallest and largest frame in bytes; zero: unknown
_FORMAT_AND_LENGTH = slice(18, 26)  # the last 36 bits are the length in samples
_MD5 = slice(26, 42)  # of the samples; zero: not computed
_NUMBER_AT = 4  # offset of the number in a frame's header: after sync code, sizes, channels
_CRC8, _CRC16 = 0x07, 0x8005


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frame:
    """One frame in three parts: header, body, and the checksum of both."""

    header: bytes
    body: bytes
    checksum: int


class FrameStore:
    """A cache of frames by their samples; it is cleared when it is full.

    An agent whose words start on micro-turn boundaries repeats most blocks after some dozens of
    dialogues. Keys are the samples themselves, 8 kB each: computing a digest would dominate.
    """

    def __init__(self, *, max_frames: int = 6000) -> None:
        self._max_frames = max_frames
        self._frames: dict[bytes, _Frame] = {}

    def encoded(
        self, blocks: Sequence[bytes], rest: bytes, *, sample_rate: int
    ) -> tuple[list[_Frame], list[_Frame]] | None:
        """Return frames of blocks and of the shorter rest; None if libFLAC's block size differs."""
        if len(self._frames) + len(blocks) > self._max_frames:
            self._frames.clear()
        new = [block for block in dict.fromkeys(blocks) if block not in self._frames]
        encoded: list[_Frame] = []
        if new or rest:
            pcm = np.frombuffer(b"".join([*new, rest]), np.int16)
            encoded = [_split(frame) for frame in _encoded(pcm, sample_rate)[1:]]
        if len(encoded) != len(new) + bool(rest):
            return None
        self._frames.update(zip(new, encoded, strict=False))
        return [self._frames[block] for block in blocks], encoded[len(new) :]


def encode_flac(
    pcm: npt.NDArray[np.int16], sample_rate: int, *, store: FrameStore | None = None
) -> bytes:
    """Encode one channel (T,) as a FLAC file; equal samples give equal bytes.

    With a `store` the file is combined from stored and new frames, even if none is silent; it then
    has no digest of its samples.
    """
    n_blocks = len(pcm) // _BLOCK
    blocks = pcm[: n_blocks * _BLOCK].reshape(n_blocks, _BLOCK)
    sounding = blocks.view(np.int64).any(axis=1)  # four samples at once
    if sounding.all() and store is None:
        return _written(io.BytesIO(), pcm, sample_rate)
    places = np.flatnonzero(sounding).tolist()
    rest = pcm[n_blocks * _BLOCK :].tobytes()
    cached = (store or FrameStore()).encoded(
        [blocks[place].tobytes() for place in places], rest, sample_rate=sample_rate
    )
    head, *whole = _silence(n_blocks, sample_rate)
    if cached is None or len(whole) != n_blocks:
        return _written(io.BytesIO(), pcm, sample_rate)
    frames, last = cached
    numbers = places + [n_blocks] * len(last)
    whole += [b""] * len(last)
    for number, frame in zip(numbers, _renumbered(frames + last, numbers), strict=True):
        whole[number] = frame
    return b"".join([_head(head, len(pcm)), *whole])


class _Pieces(io.BytesIO):
    """A file that records the offset of each write: libFLAC writes a frame at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[int] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.starts.append(self.tell())
        return super().write(data)


def _encoded(pcm: npt.NDArray[np.int16], sample_rate: int) -> list[bytes]:
    """Encode; returns the metadata before the first frame, and each frame."""
    file = _Pieces()
    data = _written(file, pcm, sample_rate)
    first = _audio_start(data)
    edges = sorted({first, *(start for start in file.starts if start > first), len(data)})
    return [data[:first], *(data[a:b] for a, b in zip(edges, edges[1:], strict=False))]


def _written(file: io.BytesIO, pcm: npt.NDArray[np.int16], sample_rate: int) -> bytes:
    """Encode the samples with libFLAC."""
    soundfile.write(
        file, pcm, sample_rate, format="FLAC", subtype="PCM_16", compression_level=LEVEL
    )
    return file.getvalue()


def _audio_start(data: bytes) -> int:
    """Return the offset at which the metadata ends."""
    at, last = 4, False
    while not last:
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at


@lru_cache(maxsize=8)
def _silence(n: int, sample_rate: int) -> tuple[bytes, ...]:
    """Return the metadata and the first `n` frames of digital silence."""
    return tuple(_encoded(np.zeros(max(n, 1) * _BLOCK, np.int16), sample_rate)[: n + 1])


def _head(head: bytes, n_samples: int) -> bytes:
    """Rewrite the metadata of the encoded part for a stream of `n_samples`."""
    changed = bytearray(head)
    packed = int.from_bytes(changed[_FORMAT_AND_LENGTH], "big") >> 36 << 36 | n_samples
    changed[_FORMAT_AND_LENGTH] = packed.to_bytes(8, "big")
    changed[_MD5] = bytes(16)
    changed[_FRAME_SIZES] = bytes(6)
    return bytes(changed)


def _split(frame: bytes) -> _Frame:
    # A last, shorter frame has its length after the number; the header ends with its checksum.
    end = _NUMBER_AT + _coded_length(frame[_NUMBER_AT]) + _length_bytes(frame) + 1
    checksum = int.from_bytes(frame[-2:], "big")
    return _Frame(header=frame[:end], body=frame[end:-2], checksum=checksum)


def _length_bytes(header: bytes) -> int:
    return {6: 1, 7: 2}.get(header[2] >> 4, 0)


def _renumbered(frames: Sequence[_Frame], numbers: Sequence[int]) -> list[bytes]:
    """Change the numbers of frames and update both checksums."""
    new = [_new_header(frame.header, number) for frame, number in zip(frames, numbers, strict=True)]
    changes = np.array([change for _, change in new], np.uint16)
    lengths = np.array([len(frame.body) for frame in frames], np.intp)
    old = np.array([frame.checksum for frame in frames], np.uint16)
    checksums = (old ^ _carried(changes, lengths)).astype(">u2").tobytes()
    return [
        b"".join((header, frame.body, checksums[2 * k : 2 * k + 2]))
        for k, (frame, (header, _)) in enumerate(zip(frames, new, strict=True))
    ]


@lru_cache(maxsize=1 << 16)
def _new_header(old: bytes, number: int) -> tuple[bytes, int]:
    """Change the number in a header; returns the header and the change of the checksum there.

    A checksum that starts from zero is linear: that of the frame changes by the change of its
    header, carried over all following bytes.
    """
    coded = chr(number).encode("utf-8", "surrogatepass")  # FLAC codes numbers as UTF-8 does
    new = old[:_NUMBER_AT] + coded + old[len(old) - 1 - _length_bytes(old) : -1]
    new += bytes([_remainder(new, _table(_CRC8, 8), 8)])
    table = _table(_CRC16, 16)
    return new, _remainder(old, table, 16) ^ _remainder(new, table, 16)


def _coded_length(first: int) -> int:
    """Return the bytes of a coded number by its first byte."""
    return 1 if first < 0x80 else 8 - (first ^ 0xFF).bit_length()


@lru_cache(maxsize=2)
def _table(polynomial: int, width: int) -> tuple[int, ...]:
    """Return the remainders of all bytes."""
    top, mask = 1 << (width - 1), (1 << width) - 1
    remainders = []
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        remainders.append(value)
    return tuple(remainders)


def _remainder(data: bytes, table: tuple[int, ...], width: int) -> int:
    value, mask = 0, (1 << width) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> (width - 8) ^ byte]
    return value


def _carried(
    values: npt.NDArray[np.uint16], n_bytes: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint16]:
    """Return 16-bit remainders (K,), each after its number of zero bytes."""
    for power in range(int(n_bytes.max(initial=0)).bit_length()):
        values = np.where(n_bytes >> power & 1, _carry_table(power)[values], values)
    return values


@lru_cache(maxsize=32)
def _carry_table(power: int) -> npt.NDArray[np.uint16]:
    """Return every 16-bit remainder after 2**power zero bytes."""
    if power:
        half = _carry_table(power - 1)
        return half[half]
    values = np.arange(1 << 16, dtype=np.uint16)
    return (values << 8) ^ np.array(_table(_CRC16, 16), np.uint16)[values >> 8]
