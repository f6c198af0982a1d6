"""A folder of a user's own recordings as beds: one file at a time, at any rate, going round."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from microturn.datagen.acoustics.config import RecordingsConfig
from microturn.datagen.corpora.waveform import resampled

Audio = npt.NDArray[np.float32]
SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
MAX_LENGTH_S: Final = 60.0  # of a file; what comes later is not read
MIN_LENGTH_S: Final = 0.25
SEAM_S: Final = 0.03  # end and beginning of a file are faded into each other over this long
KEPT: Final = 32  # decoded files per process


@dataclass(frozen=True, kw_only=True)
class NoiseRecording:
    path: Path
    sample_rate: int
    n_frames: int


def recordings(folder: str, key: str) -> tuple[NoiseRecording, ...]:
    """All recordings under a folder, by name; ValueError names the first that cannot be used."""
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{key}={folder} is no folder")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{key}={folder} holds no recording ({', '.join(sorted(SUFFIXES))})")
    return tuple(_examined(path, key) for path in paths)


def _examined(path: Path, key: str) -> NoiseRecording:
    try:
        about = soundfile.info(path)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{key}: {path} cannot be read ({error}); take it out of the folder"
        ) from error
    if about.frames < MIN_LENGTH_S * about.samplerate:
        raise ValueError(
            f"{key}: {path} is shorter than {MIN_LENGTH_S} s; take it out of the folder"
        )
    return NoiseRecording(path=path, sample_rate=about.samplerate, n_frames=about.frames)


def fingerprints(config: RecordingsConfig) -> dict[str, str]:
    """Digests of names and lengths, so that a set is not finished with other files."""
    digests = {}
    for name in (field.name for field in fields(config)):
        if folder := getattr(config, name):
            found = recordings(folder, f"acoustics.recordings.{name}")
            lines = [f"{r.path.relative_to(folder)} {r.n_frames} {r.sample_rate}" for r in found]
            digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            digests[f"{name}_recordings_sha256"] = digest
    return digests


def chosen(found: Sequence[NoiseRecording], offset: float) -> tuple[NoiseRecording, float]:
    """The file that a number from 0 to 1 stands for, and where in it."""
    at = offset * len(found)
    index = min(int(at), len(found) - 1)
    return found[index], at - index


@lru_cache(maxsize=KEPT)
def decoded(recording: NoiseRecording, sample_rate: int) -> Audio:
    """One channel at our rate and of unit power, without a click where it goes round."""
    try:
        frames, rate = soundfile.read(
            recording.path,
            frames=round(MAX_LENGTH_S * recording.sample_rate),
            dtype="float32",
            always_2d=True,
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{recording.path} cannot be decoded ({error})") from error
    mono = frames.mean(axis=1)
    if rate != sample_rate:
        ratio = Fraction(sample_rate, rate)
        mono = resampled(mono, ratio.numerator, ratio.denominator)
    return looped(unit_power(mono.astype(np.float32)), round(SEAM_S * sample_rate))


def unit_power(audio: Audio) -> Audio:
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    scaled: Audio = audio * np.float32(1.0 / np.sqrt(max(power, 1e-20)))
    return scaled


def looped(audio: Audio, seam: int) -> Audio:
    """Audio that goes round: its last samples are faded into its first ones."""
    seam = min(seam, len(audio) // 2)
    if not seam:
        return audio
    ramp = (np.arange(seam, dtype=np.float32) + 0.5) / np.float32(seam)
    round_trip = audio[: len(audio) - seam].copy()
    round_trip[:seam] *= np.sqrt(ramp)
    round_trip[:seam] += audio[len(audio) - seam :] * np.sqrt(1 - ramp)
    return round_trip
