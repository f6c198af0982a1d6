"""Analyses of recordings on disk, each under a digest of all that it depends on."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from microturn.configs.files import replacing
from microturn.datagen.voices.world import (
    FRAME_S,
    N_COEFFICIENTS,
    VoiceAnalysis,
    analyse,
    vocoder_name,
)
from microturn.model.streams.pcm import Audio

FOLDER = "voices"
_ARRAYS = ("pitch_hz", "envelope", "aperiodicity")
_MEMORY_BYTES = 64 * 2**20


class VoiceAnalyses:
    """A cache folder that several processes may share; the last 64 MiB are kept in memory too."""

    def __init__(self, folder: Path, *, pitch_method: str) -> None:
        self._folder = folder / FOLDER
        self._pitch_method = pitch_method
        self._method = f"{vocoder_name()} {pitch_method} {FRAME_S:g} {N_COEFFICIENTS}"
        self._kept: OrderedDict[str, VoiceAnalysis] = OrderedDict()
        self._kept_bytes = 0

    def of(self, audio: Audio, rate: int) -> VoiceAnalysis:
        """Return the analysis of mono audio: from memory, from disk, or made now and written."""
        digest = sha256(f"{self._method} {rate}\n".encode())
        digest.update(audio.tobytes())
        name = digest.hexdigest()
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        path = self._folder / name[:2] / f"{name}.npz"
        analysis = _read(path, rate)
        if analysis is None:
            analysis = analyse(audio, rate, pitch_method=self._pitch_method)
            _write(path, analysis)
        self._kept[name] = analysis
        self._kept_bytes += analysis.n_bytes
        while self._kept_bytes > _MEMORY_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].n_bytes
        return analysis


def _read(path: Path, rate: int) -> VoiceAnalysis | None:
    """Read an analysis; None if there is none, or a power cut has left half of one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in _ARRAYS}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, BadZipFile):
        return None
    n = len(found["pitch_hz"])
    whole = all(array.dtype == np.float32 and len(array) == n for array in found.values())
    return VoiceAnalysis(rate=rate, **found) if whole and n else None


def _write(path: Path, analysis: VoiceAnalysis) -> None:
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, **{name: getattr(analysis, name) for name in _ARRAYS})
