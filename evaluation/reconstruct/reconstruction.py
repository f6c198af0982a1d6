"""The agent's recorded voice through its lane and a vocoder, and how far that is from it.

Everything is measured against the recording on the wall clock, with the vocoder's own lag taken
out, and only where the agent speaks. N micro-turns, F frames, M mel bands, S samples.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.model.model import PATCH_FLOOR
from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.streams.mel import dequantise_fine, hann_window
from microturn.model.streams.packing import SILENT_LOG_MEL
from microturn.model.streams.pcm import Audio
from microturn.model.vocoders.base import Vocoder

_LONG_WINDOW: Final = 2048  # samples: tells harmonics of any voice apart
_QUIET: Final = 1e-3  # magnitudes below this count as one
_VOICED: Final = 0.7  # periodicity of the recording from which a moment counts as voiced
_PITCH_HZ: Final = (66, 400)
_PITCH_MS: Final = 40
_FAINT: Final = 5e-3  # of full scale; a quieter moment has no pitch that matters


@dataclass(frozen=True, kw_only=True)
class VoicePair:
    """One dialogue's voice as recorded and as it came back, on one clock."""

    key: str
    words: tuple[SpokenWord, ...]
    recorded: Audio
    made: dict[str, Audio]  # by vocoder

    def sounds(self) -> dict[str, Audio]:
        """All versions, the recording first."""
        return {"original": self.recorded, **self.made}


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Of some resynthesised speech from its recording; means over time."""

    log_mel_db: float
    spectrum_db: float
    periodicity: float | None  # None: nothing is voiced


class Stopwatch:
    """Seconds of sound made, and seconds it took."""

    def __init__(self) -> None:
        self.sound_s = self.spent_s = 0.0

    @property
    def share(self) -> float:
        """Seconds spent per second of sound."""
        return self.spent_s / max(self.sound_s, 1e-9)


@torch.inference_mode()
def resynthesise(
    vocoder: Vocoder, audio_out: NDArray[np.uint8], layout: StreamLayout, watch: Stopwatch
) -> Audio:
    """Sound on the wall clock (N * samples,) of an audio_out lane (N, F, M), streamed.

    The lane of a micro-turn sounds during the next one, so the first is silent.
    """
    state, parts = vocoder.init_state(1), []
    log_mel = torch.from_numpy(np.maximum(dequantise_fine(audio_out), PATCH_FLOOR))
    log_mel = log_mel.to(vocoder.device)
    began = time.perf_counter()
    for frames in log_mel:
        sound, state = vocoder.step(frames[None], state)
        parts.append(sound[0].cpu())
    watch.spent_s += time.perf_counter() - began
    watch.sound_s += layout.duration_s(len(parts))
    made = torch.cat(parts).numpy()
    chunk = layout.samples_per_micro_turn
    return np.concatenate([np.zeros(chunk, np.float32), made[vocoder.lag :]])[: len(made)]


def distance(pairs: Sequence[tuple[Audio, Audio]], layout: StreamLayout) -> Distance:
    """Of (recorded, made) pairs. `log_mel_db`: mean difference of bands and frames that the lane
    itself has; `spectrum_db`: the same of bins of a window that resolves harmonics;
    `periodicity`: autocorrelation at the pitch period, where the recording is voiced."""
    mel = np.concatenate([_log_mel_difference(a, b, layout) for a, b in pairs])
    spectrum = np.concatenate([_spectrum_difference(a, b) for a, b in pairs])
    voiced = np.concatenate(
        [periodicity(b, layout)[periodicity(a, layout) > _VOICED] for a, b in pairs]
    )
    return Distance(
        log_mel_db=float(mel.mean()) if mel.size else 0.0,
        spectrum_db=float(spectrum.mean()) if spectrum.size else 0.0,
        periodicity=float(voiced.mean()) if voiced.size else None,
    )


def _log_mel_difference(recorded: Audio, made: Audio, layout: StreamLayout) -> NDArray[np.float32]:
    """In dB, for frames in which the recording speaks, (frames * M,)."""
    a, b = (
        np.maximum(fine_mel(x, layout), PATCH_FLOOR).reshape(-1, layout.n_mels)
        for x in (recorded, made)
    )
    speaks = a.max(axis=1) > SILENT_LOG_MEL
    difference: NDArray[np.float32] = 20 * np.abs(a - b)[speaks].reshape(-1)
    return difference


def _spectrum_difference(recorded: Audio, made: Audio) -> NDArray[np.float32]:
    hop = _LONG_WINDOW // 4
    a, b = (
        np.maximum(
            np.abs(np.fft.rfft(_frames(x, _LONG_WINDOW, hop) * hann_window(_LONG_WINDOW))), _QUIET
        )
        for x in (recorded, made)
    )
    speaks = a.max(axis=1) > 10**SILENT_LOG_MEL * _LONG_WINDOW / 8
    difference: NDArray[np.float32] = 20 * np.abs(np.log10(a / b))[speaks].reshape(-1)
    return difference


def periodicity(audio: Audio, layout: StreamLayout) -> NDArray[np.float64]:
    """Largest normalised autocorrelation at a pitch period, every 10 ms; 0 where it is faint."""
    size, hop = _PITCH_MS * layout.sample_rate // 1000, layout.sample_rate // 100
    shortest, longest = (layout.sample_rate // hertz for hertz in reversed(_PITCH_HZ))
    frames = _frames(audio, size, hop).astype(np.float64)
    window = hann_window(size).astype(np.float64)
    power, of_window = (_autocorrelation(x * window) for x in (frames, np.ones(size)))
    normal = power / np.maximum(power[:, :1], 1e-12) / (of_window / of_window[0])
    best: NDArray[np.float64] = normal[:, shortest:longest].max(axis=1)
    return np.where(np.abs(frames).max(axis=1) > _FAINT, best, 0.0)


def _autocorrelation(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the last axis, for lags up to half of it."""
    n = x.shape[-1]
    power = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    return np.fft.irfft(power)[..., : n // 2]


def _frames(audio: Audio, size: int, hop: int) -> Audio:
    """Overlapping windows (frames, size); none of a clip that is shorter than one."""
    if len(audio) < size:
        return np.zeros((0, size), np.float32)
    return np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
