"""FLAC of 16-bit channels that are silent most of the time.

A frame of FLAC (RFC 9639) depends on nothing but its own samples and its number, so a frame of
digital silence need not be encoded again for every dialogue: libFLAC encodes the blocks that
sound, and they are put among stored frames of silence under the numbers that they have there.
Channels without a silent block are encoded as a whole.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soundfile

LEVEL = 0.4  # half the time of the default for a few per cent of size
_BLOCK = 4096  # samples per frame that libFLAC takes at this level
# Bytes of the block that every stream begins with (RFC 9639, section 8.2).
_FRAME_SIZES = slice(12, 18)  # smallest and largest frame in bytes; zero: unknown
_FORMAT_AND_LENGTH = slice(18, 26)  # the last 36 bits are the length in samples
_MD5 = slice(26, 42)  # of the samples; zero: not computed
_NUMBER_AT = 4  # of a frame's header: behind sync code, sizes and channels
_CRC8, _CRC16 = 0x07, 0x8005


def encode_flac(pcm: npt.NDArray[np.int16], sample_rate: int) -> bytes:
    """A whole FLAC file of one channel (T,); equal samples give equal bytes."""
    n_blocks = len(pcm) // _BLOCK
    blocks = pcm[: n_blocks * _BLOCK].reshape(n_blocks, _BLOCK)
    sounding = blocks.any(axis=1)
    if sounding.all():
        return b"".join(_encoded(pcm, sample_rate))
    rest = pcm[n_blocks * _BLOCK :]
    numbers = np.flatnonzero(sounding).tolist() + [n_blocks] * bool(len(rest))
    head, *frames = _encoded(np.concatenate([blocks[sounding].reshape(-1), rest]), sample_rate)
    whole = list(_silent_frames(n_blocks, sample_rate))
    if len(frames) != len(numbers):  # a libFLAC with other blocks than ours
        return b"".join(_encoded(pcm, sample_rate))
    whole += [b""] * bool(len(rest))
    for number, frame in zip(numbers, frames, strict=True):
        whole[number] = _renumbered(frame, number)
    return b"".join([_head(head, len(pcm)), *whole])


class _Pieces(io.BytesIO):
    """A file that remembers where each write began: libFLAC writes a frame at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[int] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.starts.append(self.tell())
        return super().write(data)


def _encoded(pcm: npt.NDArray[np.int16], sample_rate: int) -> list[bytes]:
    """What comes before the first frame, and each frame."""
    file = _Pieces()
    soundfile.write(
        file, pcm, sample_rate, format="FLAC", subtype="PCM_16", compression_level=LEVEL
    )
    data = file.getvalue()
    first = _audio_start(data)
    edges = sorted({first, *(start for start in file.starts if start > first), len(data)})
    return [data[:first], *(data[a:b] for a, b in zip(edges, edges[1:], strict=False))]


def _audio_start(data: bytes) -> int:
    """Where the metadata ends."""
    at, last = 4, False
    while not last:
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at


@lru_cache(maxsize=8)
def _silent_frames(n: int, sample_rate: int) -> tuple[bytes, ...]:
    """The first `n` frames of a stream of digital silence."""
    return tuple(_encoded(np.zeros(n * _BLOCK, np.int16), sample_rate)[1:])


def _head(head: bytes, n_samples: int) -> bytes:
    """The metadata of the encoded part as that of a stream of `n_samples`."""
    changed = bytearray(head)
    packed = int.from_bytes(changed[_FORMAT_AND_LENGTH], "big") >> 36 << 36 | n_samples
    changed[_FORMAT_AND_LENGTH] = packed.to_bytes(8, "big")
    changed[_MD5] = bytes(16)
    changed[_FRAME_SIZES] = bytes(6)
    return bytes(changed)


def _renumbered(frame: bytes, number: int) -> bytes:
    """The same frame under another number; both checksums follow."""
    # A last, shorter frame has its length behind the number.
    more = {6: 1, 7: 2}.get(frame[2] >> 4, 0)
    end = _NUMBER_AT + _coded_length(frame[_NUMBER_AT]) + more + 1  # with the header's checksum
    header, change = _new_header(frame[:end], number, more)
    body = frame[end:-2]
    checksum = int.from_bytes(frame[-2:], "big") ^ _carried(change, len(body))
    return header + body + checksum.to_bytes(2, "big")


@lru_cache(maxsize=1 << 16)
def _new_header(old: bytes, number: int, more: int) -> tuple[bytes, int]:
    """The header under another number, and by what the frame's checksum changes at its end.

    A checksum that starts from zero is linear: that of the frame changes by what its header
    changes, carried over all bytes that follow.
    """
    coded = chr(number).encode("utf-8", "surrogatepass")  # FLAC codes numbers as UTF-8 does
    new = old[:_NUMBER_AT] + coded + old[len(old) - 1 - more : -1]
    new += bytes([_remainder(new, _table(_CRC8, 8), 8)])
    table = _table(_CRC16, 16)
    return new, _remainder(old, table, 16) ^ _remainder(new, table, 16)


def _coded_length(first: int) -> int:
    """Bytes of a number that begins with this one."""
    return 1 if first < 0x80 else 8 - (first ^ 0xFF).bit_length()


@lru_cache(maxsize=2)
def _table(polynomial: int, width: int) -> tuple[int, ...]:
    """Remainders of all bytes."""
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


def _carried(value: int, n_bytes: int) -> int:
    """A 16-bit remainder after `n_bytes` of zeros."""
    power = 0
    while n_bytes:
        if n_bytes & 1:
            high, low = _carry_tables(power)
            value = high[value >> 8] ^ low[value & 0xFF]
        n_bytes >>= 1
        power += 1
    return value


@lru_cache(maxsize=32)
def _carry_tables(power: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What 2**power bytes of zeros make of the high and the low byte of a remainder."""

    def carried(value: int) -> int:
        if not power:
            return (value << 8 & 0xFFFF) ^ _table(_CRC16, 16)[value >> 8]
        half = 1 << (power - 1)
        return _carried(_carried(value, half), half)

    return tuple(carried(v << 8) for v in range(256)), tuple(carried(v) for v in range(256))
