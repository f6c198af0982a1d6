"""Noise beds from a folder of user recordings: each file, at any rate, as a seamless loop."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from microturn.configs.reading import files_below
from microturn.datagen.acoustics.config import RecordingsConfig
from microturn.datagen.corpora.waveform import resampled
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import (
    SoundError,
    decoding,
    read_sound,
    to_mono,
    without_offset,
)

SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
MAX_LENGTH_S: Final = 60.0  # of a file; the rest is not read
MIN_LENGTH_S: Final = 0.25
SEAM_S: Final = 0.03  # crossfade between the end and the beginning of a file
MAX_DECODED: Final = 32  # files kept in memory per process


@dataclass(frozen=True, kw_only=True)
class NoiseRecording:
    """A file that can be used as a bed."""

    path: Path
    sample_rate: int
    n_frames: int


def recordings(folder: str, key: str) -> tuple[NoiseRecording, ...]:
    """List the recordings under a folder by name; ValueError names the first unusable one."""
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{key}={folder} is not a folder")
    paths = sorted(path for path in files_below(root) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{key}={folder} holds no recording ({', '.join(sorted(SUFFIXES))})")
    return tuple(_examined(path, key) for path in paths)


def _examined(path: Path, key: str) -> NoiseRecording:
    try:
        piece = read_sound(path, at_most_s=MIN_LENGTH_S)
        with decoding():
            n_frames = int(soundfile.info(path).frames)
    except SoundError as error:
        raise ValueError(
            f"{key}: {path} cannot be read ({error}); take it out of the folder"
        ) from error
    if len(piece.samples) < round(MIN_LENGTH_S * piece.rate):
        raise ValueError(
            f"{key}: {path} is shorter than {MIN_LENGTH_S} s; take it out of the folder"
        )
    return NoiseRecording(path=path, sample_rate=piece.rate, n_frames=n_frames)


def fingerprints(config: RecordingsConfig) -> dict[str, str]:
    """Return digests of names and lengths, so that a set is not finished with other files."""
    digests = {}
    for name in (field.name for field in fields(config)):
        if folder := getattr(config, name):
            files = recordings(folder, f"acoustics.recordings.{name}")
            lines = [f"{r.path.relative_to(folder)} {r.n_frames} {r.sample_rate}" for r in files]
            digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            digests[f"{name}_recordings_sha256"] = digest
    return digests


def chosen(files: Sequence[NoiseRecording], offset: float) -> tuple[NoiseRecording, float]:
    """Return the file at a relative offset (0 to 1) in all files, and the offset in that file."""
    position = offset * len(files)
    index = min(int(position), len(files) - 1)
    return files[index], position - index


@lru_cache(maxsize=MAX_DECODED)
def decoded(recording: NoiseRecording, sample_rate: int) -> Audio:
    """Return one channel at the sample rate, of unit power, as a seamless loop."""
    try:
        piece = read_sound(recording.path, at_most_s=MAX_LENGTH_S)
    except SoundError as error:
        raise ValueError(f"{recording.path}: {error}") from error
    if not np.isfinite(piece.samples).all():
        raise ValueError(f"{recording.path} has samples that are not finite; write it again")
    mono, _ = without_offset(to_mono(piece.samples)[0], piece.rate)
    if piece.rate != sample_rate:
        ratio = Fraction(sample_rate, piece.rate)
        mono = resampled(mono, up=ratio.numerator, down=ratio.denominator)
    return looped(unit_power(mono.astype(np.float32)), round(SEAM_S * sample_rate))


def unit_power(audio: Audio) -> Audio:
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    scaled: Audio = audio * np.float32(1.0 / np.sqrt(max(power, 1e-20)))
    return scaled


def looped(audio: Audio, seam: int) -> Audio:
    """Make a seamless loop: the last samples are crossfaded into the first ones."""
    seam = min(seam, len(audio) // 2)
    if not seam:
        return audio
    ramp = (np.arange(seam, dtype=np.float32) + 0.5) / np.float32(seam)
    loop = audio[: len(audio) - seam].copy()
    loop[:seam] *= np.sqrt(ramp)
    loop[:seam] += audio[len(audio) - seam :] * np.sqrt(1 - ramp)
    return loop
