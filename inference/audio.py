"""Audio at the edge of the program: files of any kind in, 16 kHz mono samples and PCM16 out.

Inside, audio is float32 in [-1, 1] at the rate of the layout; everything else is converted here,
and each conversion is reported to the caller in one note.
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
from microturn.model.streams.sound_file import (
    SoundError,
    SoundPiece,
    read_sound,
    to_mono,
    without_offset,
)

PCM16_BYTES: Final = 2
_MIN_RATE: Final = 1_000  # of a recording
_MAX_RATE: Final = 768_000
_SAME_DB: Final = -40.0  # channels that differ by less are the same sound


@dataclass(frozen=True, kw_only=True)
class LoadedAudio:
    """Samples ready for a session, and notes on the conversions that made them."""

    samples: Audio
    notes: tuple[str, ...]


def read_recording(path: str | Path, *, sample_rate: int, one_voice: bool = False) -> LoadedAudio:
    """Read a recording as mono at `sample_rate`; raises ValueError for an unreadable file.

    With `one_voice` channels that differ are refused rather than mixed.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name one recording in it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; name a WAV, FLAC, OGG or MP3 recording")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file; name a WAV, FLAC, OGG or MP3 recording")
    try:
        piece = read_sound(path)
    except SoundError as error:
        raise ValueError(
            f"{path} is not a recording that can be read ({error}); "
            "give a WAV, FLAC, OGG or MP3 file"
        ) from error
    if len(piece.samples) == 0:
        raise ValueError(f"{path} holds no samples; give a recording with sound in it")
    if one_voice and _channels_differ(piece.samples):
        raise ValueError(
            f"{path} has {piece.samples.shape[1]} channels that differ; give a recording of one "
            "voice alone, in one channel"
        )
    return _convert(path, piece, sample_rate=sample_rate)


def _channels_differ(samples: Audio) -> bool:
    """Tell whether channels (n, C) differ by more than the noise of a lossy codec."""
    clean = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    power = np.square(clean, dtype=np.float64).mean()
    difference = np.square(clean - clean[:, :1], dtype=np.float64).mean()
    return bool(difference > power * 10 ** (_SAME_DB / 10))


def _convert(path: Path, piece: SoundPiece, *, sample_rate: int) -> LoadedAudio:
    samples, rate = piece.samples, piece.rate
    notes = [f"{path}: mended ({fault})" for fault in piece.mended]
    if not np.isfinite(samples).all():
        notes.append(f"{path}: samples that are not numbers were set to silence")
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    mono, cancelled = to_mono(samples)
    mono, offset = without_offset(mono, rate)
    notes += [f"{path}: mended ({fault})" for fault in (*cancelled, *offset)]
    if samples.shape[1] > 1 and not cancelled:
        notes.append(f"{path}: {samples.shape[1]} channels mixed down to one")
    if rate != sample_rate:
        if not _MIN_RATE <= rate <= _MAX_RATE:
            raise ValueError(
                f"{path} has a sample rate of {rate} Hz; convert it to {sample_rate} Hz first"
            )
        notes.append(f"{path}: resampled from {rate} Hz to {sample_rate} Hz")
        mono = resample(mono, rate=rate, new_rate=sample_rate)
    return LoadedAudio(samples=np.ascontiguousarray(mono, np.float32), notes=tuple(notes))


def resample(samples: Audio, *, rate: int, new_rate: int) -> Audio:
    """Resample with a polyphase filter without delay; returns at least one sample."""
    common = gcd(rate, new_rate)
    converted: Audio = resample_poly(samples, new_rate // common, rate // common)
    return converted.clip(-1.0, 1.0).astype(np.float32)


def write_wav(path: str | Path, samples: Audio, *, sample_rate: int) -> None:
    """Write 16-bit PCM WAV; samples beyond full scale are clipped."""
    soundfile.write(path, to_pcm16(samples), sample_rate, format="WAV", subtype="PCM_16")


def encode_pcm16(samples: Audio) -> bytes:
    """Convert samples to little-endian 16-bit PCM."""
    return to_pcm16(samples).astype("<i2").tobytes()


def decode_pcm16(data: bytes) -> Audio:
    """Convert little-endian 16-bit PCM of a whole number of samples."""
    return from_pcm16(np.frombuffer(data, "<i2"))


class Reassembler:
    """Collects pieces of any number of samples and returns whole micro-turns."""

    def __init__(self, samples_per_micro_turn: int) -> None:
        self._bytes = samples_per_micro_turn * PCM16_BYTES
        self._buffer = bytearray()

    def add_pcm16(self, data: bytes) -> list[Audio]:
        """Return the micro-turns that this piece completes."""
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
