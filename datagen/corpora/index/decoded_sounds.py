"""Decoded recordings on disk: sets of a small corpus need each of its recordings many times.

A recording lies under a digest of its stored bytes and of everything that decodes them, as float32
samples and their CRC. Several processes may share the folder. A file that is damaged, or cannot be
written, costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np

from microturn.configs.files import replacing
from microturn.model.streams.pcm import Audio

FOLDER: Final = "decoded"
MAX_BYTES: Final = 2**30  # of a corpus, 4.7 hours at 16 kHz; sets of a larger one repeat little
_SAMPLE: Final = np.dtype("<f4")
_CRC_BYTES: Final = 4
_VERSION: Final = 1  # of what `Corpus` does to a recording; another decodes all again


def is_kept(seconds: float, rate: int) -> bool:
    """Whether recordings of a corpus that lasts so long in all are kept."""
    return seconds * rate * _SAMPLE.itemsize <= MAX_BYTES


class DecodedSounds:
    """A cache folder of recordings in one sample rate."""

    def __init__(self, cache_folder: Path, rate: int) -> None:
        self._folder = cache_folder / FOLDER
        self._method = f"{_decoder()} {rate}\n".encode()

    def of(self, stored: bytes, decode: Callable[[], Audio]) -> Audio:
        """Return the samples (n,) of a recording by its stored bytes; `decode` makes them once."""
        digest = sha256(self._method)
        digest.update(stored)
        name = digest.hexdigest()
        path = self._folder / name[:2] / name
        kept = _read(path)
        if kept is None:
            kept = decode()
            with suppress(OSError):
                _write(path, kept)
        return kept


@cache
def _decoder() -> str:
    import scipy
    import soundfile

    return f"{_VERSION} {soundfile.__libsndfile_version__} scipy {scipy.__version__}"


def _read(path: Path) -> Audio | None:
    """Read samples; None if there are none, or a power cut has left others."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.readall()
    except OSError:
        return None
    n = (len(data) - _CRC_BYTES) // _SAMPLE.itemsize
    if n < 0 or data[n * _SAMPLE.itemsize :] != _crc(memoryview(data)[: n * _SAMPLE.itemsize]):
        return None
    samples: Audio = np.frombuffer(data, _SAMPLE, n).astype(np.float32, copy=False)
    return samples


def _write(path: Path, samples: Audio) -> None:
    data = samples.astype(_SAMPLE, copy=False).tobytes()
    with replacing(path) as draft:
        draft.write_bytes(data + _crc(data))


def _crc(data: bytes | memoryview) -> bytes:
    return crc32(data).to_bytes(_CRC_BYTES, "little")
