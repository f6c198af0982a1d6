"""Sound at the edge of the program: files of any kind in, 16 kHz mono samples and PCM16 out.

Inside, audio is float32 in [-1, 1] at the rate of the layout; everything else is converted here,
and each conversion is said to the caller in one note.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from scipy.signal import resample_poly

from microturn.model.streams.pcm import Audio, from_pcm16, to_pcm16

PCM16_BYTES: Final = 2
_SPEED_LIMITS: Final = (1_000, 768_000)  # sample rates that a recording can sensibly have


@dataclass(frozen=True, kw_only=True)
class LoadedAudio:
    """Samples ready for the engine, and what had to be done to the file to get them."""

    samples: Audio
    notes: tuple[str, ...]


def read_recording(path: str | Path, *, sample_rate: int) -> LoadedAudio:
    """Read whatever libsndfile reads as mono `sample_rate`; a bad file is one clear sentence."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name one recording in it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; name a WAV, FLAC, OGG or MP3 recording")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file; name a WAV, FLAC, OGG or MP3 recording")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} is not a recording that can be read ({error.error_string.rstrip('.')}); "
            "give a WAV, FLAC, OGG or MP3 file"
        ) from error
    if len(samples) == 0:
        raise ValueError(f"{path} holds no samples; give a recording with sound in it")
    return _to_layout(path, samples, rate, sample_rate)


def _to_layout(path: Path, samples: Audio, rate: int, wanted: int) -> LoadedAudio:
    notes = []
    if not np.isfinite(samples).all():
        notes.append(f"{path}: samples that are not numbers were set to silence")
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    mono = samples[:, 0]
    if samples.shape[1] > 1:
        notes.append(f"{path}: {samples.shape[1]} channels mixed down to one")
        mono = samples.mean(axis=1, dtype=np.float32)
    if rate != wanted:
        if not _SPEED_LIMITS[0] <= rate <= _SPEED_LIMITS[1]:
            raise ValueError(f"{path} says {rate} samples per second; convert it to {wanted} first")
        notes.append(f"{path}: resampled from {rate} Hz to {wanted} Hz")
        mono = resample(mono, rate, wanted)
    return LoadedAudio(samples=np.ascontiguousarray(mono, np.float32), notes=tuple(notes))


def resample(samples: Audio, rate: int, wanted: int) -> Audio:
    """Polyphase resampling without delay; at least one sample comes out."""
    common = gcd(rate, wanted)
    converted: Audio = resample_poly(samples, wanted // common, rate // common)
    return converted.clip(-1.0, 1.0).astype(np.float32)


def write_wav(path: str | Path, samples: Audio, *, sample_rate: int) -> None:
    """16-bit PCM WAV, clipped rather than wrapped."""
    soundfile.write(path, to_pcm16(samples), sample_rate, format="WAV", subtype="PCM_16")


def encode_pcm16(samples: Audio) -> bytes:
    """Little-endian 16-bit samples."""
    return to_pcm16(samples).astype("<i2").tobytes()


def decode_pcm16(data: bytes) -> Audio:
    """Inverse of `encode_pcm16`; the length must be a whole number of samples."""
    return from_pcm16(np.frombuffer(data, "<i2"))


class Reassembler:
    """Collects pieces of any number of samples and hands out whole micro-turns."""

    def __init__(self, samples_per_micro_turn: int) -> None:
        self._bytes = samples_per_micro_turn * PCM16_BYTES
        self._buffer = bytearray()

    def push(self, data: bytes) -> list[Audio]:
        """Micro-turns that this piece completed."""
        if len(data) % PCM16_BYTES:
            raise ValueError(
                f"{len(data)} bytes are no whole number of 16-bit samples; send little-endian PCM16"
            )
        self._buffer += data
        whole = len(self._buffer) // self._bytes
        pieces = [
            decode_pcm16(bytes(self._buffer[i * self._bytes : (i + 1) * self._bytes]))
            for i in range(whole)
        ]
        del self._buffer[: whole * self._bytes]
        return pieces
