"""G.711: converts 16-bit samples to 8-bit codes and back, both laws, by table.

Negative samples are taken as their ones' complement, as in the reference program of ITU-T G.191.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
Codes = npt.NDArray[np.uint8]
BIAS: Final = 33  # of the mu law, on 14-bit samples
A_LAW_MASK: Final = 0x55  # every other bit of a transmitted A-law code is inverted


def encode(pcm: Pcm, law: str) -> Codes:
    """Return the codes as they are transmitted."""
    return _encoder(law)[pcm.view(np.uint16)]


def decode(codes: Codes, law: str) -> Pcm:
    """Return the samples of transmitted codes."""
    return _decoder(law)[codes]


def through(pcm: Pcm, law: str) -> Pcm:
    """Encode and decode: the samples at the receiver."""
    return _round_trip(law)[pcm.view(np.uint16)]


@cache
def _round_trip(law: str) -> Pcm:
    return _decoder(law)[_encoder(law)]


@cache
def _encoder(law: str) -> Codes:
    """Return the code of every 16-bit sample, indexed by its two's complement."""
    pcm = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    return _encode_mu(pcm) if law == "mu" else _encode_a(pcm)


@cache
def _decoder(law: str) -> Pcm:
    codes = np.arange(256)
    return (_decode_mu(codes) if law == "mu" else _decode_a(codes)).astype(np.int16)


def _encode_mu(pcm: npt.NDArray[np.int32]) -> Codes:
    """Encode the upper 14 bits: sign, three bits of segment, four of mantissa, all inverted."""
    magnitude = np.minimum(np.where(pcm < 0, ~pcm, pcm) >> 2, 8158) + BIAS
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (segment + 1)) & 15
    sign = np.where(pcm < 0, 128, 0)
    return (~(sign | segment << 4 | mantissa) & 255).astype(np.uint8)


def _decode_mu(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    plain = ~codes & 255
    segment, mantissa = plain >> 4 & 7, plain & 15
    magnitude = ((2 * mantissa + BIAS) << segment) - BIAS
    return np.where(plain & 128, -magnitude, magnitude) << 2


def _encode_a(pcm: npt.NDArray[np.int32]) -> Codes:
    """Encode the upper 13 bits: sign, three bits of segment, four of mantissa."""
    magnitude = np.where(pcm < 0, ~pcm, pcm) >> 3
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = (magnitude >> np.maximum(segment, 1)) & 15
    sign = np.where(pcm < 0, 0, 128)
    return ((sign | segment << 4 | mantissa) ^ A_LAW_MASK).astype(np.uint8)


def _decode_a(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    plain = codes ^ A_LAW_MASK
    segment, mantissa = plain >> 4 & 7, plain & 15
    magnitude = 2 * mantissa + 1 + np.where(segment, 32, 0)
    magnitude = magnitude << np.maximum(segment - 1, 0)
    return np.where(plain & 128, magnitude, -magnitude) << 3
