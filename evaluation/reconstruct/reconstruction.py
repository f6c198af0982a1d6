"""Distance between the agent's recorded voice and the same voice through lane and vocoder.

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
from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.streams.mel import dequantise_fine, hann_window
from microturn.model.streams.packing import SILENT_LOG_MEL
from microturn.model.streams.pcm import Audio
from microturn.model.vocoders.base import Vocoder
from microturn.model.vocoders.config import PATCH_FLOOR

_LONG_WINDOW: Final = 2048  # samples: resolves the harmonics of any voice
_MIN_MAGNITUDE: Final = 1e-3  # smaller ones are raised to it
_VOICED: Final = 0.7  # periodicity of the recording from which a moment counts as voiced
_PITCH_HZ: Final = (66, 400)
_PITCH_MS: Final = 40
_MIN_PITCHED: Final = 5e-3  # of full scale; the pitch of a quieter moment does not matter


@dataclass(frozen=True, kw_only=True)
class VoicePair:
    """One dialogue's voice as recorded and as resynthesised, on one clock."""

    key: str
    words: tuple[SpokenWord, ...]
    recorded: Audio
    resynthesised: dict[str, Audio]  # by vocoder

    def sounds(self) -> dict[str, Audio]:
        """All versions, the recording first."""
        return {"original": self.recorded, **self.resynthesised}


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Distance of resynthesised speech from its recording; means over time."""

    log_mel_db: float
    spectrum_db: float
    periodicity: float | None  # None: nothing is voiced


class Stopwatch:
    """Seconds of sound that a vocoder made, and seconds that it took."""

    def __init__(self) -> None:
        self.sound_s = self.elapsed_s = 0.0

    @property
    def share(self) -> float:
        """Seconds of computing per second of sound."""
        return self.elapsed_s / max(self.sound_s, 1e-9)


@torch.inference_mode()
def resynthesise(vocoder: Vocoder, audio_out: NDArray[np.uint8], *, watch: Stopwatch) -> Audio:
    """Stream an audio_out lane (N, F, M) into sound (N * samples,) on the wall clock.

    The lane of a micro-turn sounds during the next one, so the first is silent.
    """
    layout = vocoder.layout
    state, parts = vocoder.init_state(1), []
    log_mel = torch.from_numpy(np.maximum(dequantise_fine(audio_out), PATCH_FLOOR))
    log_mel = log_mel.to(vocoder.device)
    start_s = time.perf_counter()
    for frames in log_mel:
        chunk, state = vocoder.step(frames[None], state)
        parts.append(chunk[0].cpu())
    watch.elapsed_s += time.perf_counter() - start_s
    watch.sound_s += layout.duration_s(len(parts))
    sound = torch.cat(parts).numpy()
    silence = np.zeros(layout.samples_per_micro_turn, np.float32)
    return np.concatenate([silence, sound[vocoder.lag :]])[: len(sound)]


def distance(pairs: Sequence[tuple[Audio, Audio]], layout: StreamLayout) -> Distance:
    """Measure pairs of recorded and resynthesised sound.

    `log_mel_db`: mean difference over the bands and frames of the lane; `spectrum_db`: the same
    over bins of a window that resolves harmonics; `periodicity`: autocorrelation at the pitch
    period, where the recording is voiced.
    """
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


def _log_mel_difference(
    recorded: Audio, resynthesised: Audio, layout: StreamLayout
) -> NDArray[np.float32]:
    """Difference in dB over frames in which the recording has speech, (frames * M,)."""
    a, b = (
        np.maximum(fine_mel(x, layout), PATCH_FLOOR).reshape(-1, layout.n_mels)
        for x in (recorded, resynthesised)
    )
    speaks = a.max(axis=1) > SILENT_LOG_MEL
    difference: NDArray[np.float32] = 20 * np.abs(a - b)[speaks].reshape(-1)
    return difference


def _spectrum_difference(recorded: Audio, resynthesised: Audio) -> NDArray[np.float32]:
    hop = _LONG_WINDOW // 4
    a, b = (
        np.maximum(
            np.abs(np.fft.rfft(_frames(x, _LONG_WINDOW, hop) * hann_window(_LONG_WINDOW))),
            _MIN_MAGNITUDE,
        )
        for x in (recorded, resynthesised)
    )
    speaks = a.max(axis=1) > 10**SILENT_LOG_MEL * _LONG_WINDOW / 8
    difference: NDArray[np.float32] = 20 * np.abs(np.log10(a / b))[speaks].reshape(-1)
    return difference


def periodicity(audio: Audio, layout: StreamLayout) -> NDArray[np.float64]:
    """Compute the largest normalised autocorrelation at a pitch period, every 10 ms; 0 if faint."""
    size, hop = _PITCH_MS * layout.sample_rate // 1000, layout.sample_rate // 100
    shortest, longest = (layout.sample_rate // hertz for hertz in reversed(_PITCH_HZ))
    frames = _frames(audio, size, hop).astype(np.float64)
    window = hann_window(size).astype(np.float64)
    power, reference = (_autocorrelation(x * window) for x in (frames, np.ones(size)))
    normal = power / np.maximum(power[:, :1], 1e-12) / (reference / reference[0])
    best: NDArray[np.float64] = normal[:, shortest:longest].max(axis=1)
    return np.where(np.abs(frames).max(axis=1) > _MIN_PITCHED, best, 0.0)


def _autocorrelation(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocorrelate the last axis, for lags up to half of it."""
    n = x.shape[-1]
    power = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    return np.fft.irfft(power)[..., : n // 2]


def _frames(audio: Audio, size: int, hop: int) -> Audio:
    """Cut overlapping windows (frames, size); none of a clip that is shorter than one."""
    if len(audio) < size:
        return np.zeros((0, size), np.float32)
    return np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
