"""Opus in Ogg with the same bytes each time; libsndfile draws the number of a stream at random."""

from __future__ import annotations

import io
from typing import Final

import soundfile

from microturn.model.streams.pcm import Audio

# Of libsndfile's scale: about 32 kbit/s for music at 16 kHz, 42 for words.
_COMPRESSION: Final = 0.9
_SERIAL, _CRC, _N_SEGMENTS, _HEADER_BYTES = 14, 22, 26, 27  # of a page, RFC 3533 section 6
_CRC_POLYNOMIAL: Final = 0x04C11DB7


def opus(audio: Audio, rate: int) -> bytes:
    """Encode mono audio (n,) at 8, 12, 16, 24 or 48 kHz; decoding gives n samples again."""
    out = io.BytesIO()
    soundfile.write(out, audio, rate, format="OGG", subtype="OPUS", compression_level=_COMPRESSION)
    return _with_serial(out.getvalue(), 0)


def _with_serial(ogg: bytes, serial: int) -> bytes:
    """Give all pages of an Ogg file this number of their stream."""
    pages, start = bytearray(ogg), 0
    while start < len(pages):
        n_segments = pages[start + _N_SEGMENTS]
        sizes = pages[start + _HEADER_BYTES : start + _HEADER_BYTES + n_segments]
        end = start + _HEADER_BYTES + n_segments + sum(sizes)
        pages[start + _SERIAL : start + _SERIAL + 4] = serial.to_bytes(4, "little")
        pages[start + _CRC : start + _CRC + 4] = bytes(4)
        crc = _crc(pages[start:end])
        pages[start + _CRC : start + _CRC + 4] = crc.to_bytes(4, "little")
        start = end
    return bytes(pages)


def _crc(page: bytes | bytearray) -> int:
    """Compute the checksum of a page: CRC-32 from the highest bit, begun with 0."""
    crc = 0
    for byte in page:
        crc = (crc << 8) & 0xFFFFFFFF ^ _TABLE[crc >> 24 ^ byte]
    return crc


def _table_entry(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = crc << 1 ^ (_CRC_POLYNOMIAL if crc & 0x80000000 else 0)
    return crc & 0xFFFFFFFF


_TABLE: Final = [_table_entry(byte) for byte in range(256)]
