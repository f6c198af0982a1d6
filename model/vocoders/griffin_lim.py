"""From fine log-mel to sound without learned parts: streaming Griffin-Lim.

Each micro-turn's frames get phases by a few Griffin-Lim rounds in which the frames that have
already sounded stay as they are (after Zhu, Beauregard and Wyse, "Real-time signal estimation
from modified STFT magnitude spectra", 2007), so chunks join without clicks. A frame is causal:
its window ends where it ends, so sound lags the mel by window - hop samples (37.5 ms).
B rows, F frames of a micro-turn, K frequency bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model.streams import StreamLayout
from microturn.model.streams.mel import FINE_N_FFT, FINE_OVERLAP, hann_window, mel_filters

AUDIBLE = 10**-3.5  # below this mel magnitude a band is silence
_ROUNDS = 12
_MOMENTUM = 0.9


@dataclass(frozen=True)
class VocoderState:
    """What a row carries from one micro-turn to the next; zeros: nothing has sounded yet.

    Griffin-Lim: windowed frames that still overlap the future, (B, overlap - 1, window). The
    learned vocoder: all that it looks back at and overlaps, (B, 1, numbers).
    """

    frames: Tensor


@dataclass(frozen=True)
class FrameGrid:
    """Hop and window in samples of the fine mel frames of a layout."""

    layout: StreamLayout

    @cached_property
    def hop(self) -> int:
        return self.layout.samples_per_micro_turn // self.layout.fine_frames_per_micro_turn

    @property
    def window(self) -> int:
        return FINE_OVERLAP * self.hop

    @property
    def lag(self) -> int:
        """Samples by which sound comes after the mel it was made from: frames still overlap."""
        return self.window - self.hop


def mel_inverse(sample_rate: int, n_fft: int) -> NDArray[np.float64]:
    """Ridge inverse of the mel filters: (80, n_fft // 2 + 1), mel magnitudes to bin magnitudes.

    A ridge keeps the inverse calm where narrow low bands share one frequency bin. Another FFT
    length than that of the analysis has fewer or more bins in a band, hence the factor.
    """
    filters = np.asarray(mel_filters(sample_rate, n_fft), np.float64) * (FINE_N_FFT / n_fft)
    gram = filters.T @ filters
    return np.linalg.solve(gram + 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram)), filters.T)


def squared_window(window: Tensor) -> Tensor:
    """Sum of squared windows at each offset of a hop, (hop,): what overlap-add divides by."""
    return window.square().view(FINE_OVERLAP, -1).sum(0).clamp_min(1e-3)


class GriffinLim:
    """Stateless functions over tables; `state` is passed in and out."""

    def __init__(self, layout: StreamLayout, device: torch.device | str = "cpu") -> None:
        grid = FrameGrid(layout)
        self.frames = layout.fine_frames_per_micro_turn
        self.hop, self.window_size, self.lag = grid.hop, grid.window, grid.lag
        inverse = mel_inverse(layout.sample_rate, FINE_N_FFT)
        self.inverse = torch.tensor(inverse, dtype=torch.float32, device=device)  # (80, K)
        self.window = torch.tensor(hann_window(self.window_size), device=device)
        self.norm = squared_window(self.window)

    def init_state(self, rows: int) -> VocoderState:
        frames = torch.zeros(rows, FINE_OVERLAP - 1, self.window_size, device=self.window.device)
        return VocoderState(frames)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Windowed frames (B, M, window) to samples (B, (M + overlap - 1) * hop)."""
        B, M, _ = frames.shape
        pieces = frames.view(B, M, FINE_OVERLAP, self.hop)
        total = frames.new_zeros(B, M + FINE_OVERLAP - 1, self.hop)
        for part in range(FINE_OVERLAP):
            total[:, part : part + M] += pieces[:, :, part]
        return (total / self.norm).flatten(1)

    def _resynthesise(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        signal = torch.fft.irfft(torch.polar(magnitude, phase), FINE_N_FFT)
        return signal[..., : self.window_size] * self.window

    def step(self, log_mel: Tensor, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """Sound of one micro-turn, (B, samples), from log10-mel (B, F, 80)."""
        mel = 10.0**log_mel
        mel = torch.where(mel > AUDIBLE, mel, 0.0)
        # On a GPU asking would wait for it; without the shortcut silence comes out as zeros too.
        if not mel.is_cuda and not bool(mel.any()) and not bool(state.frames.any()):
            return mel.new_zeros(len(mel), self.frames * self.hop), state
        magnitude = (mel @ self.inverse).clamp_min(0.0)  # (B, F, K)
        past = state.frames
        frames = self._estimate(magnitude, past)
        everything = torch.cat([past, frames], dim=1)
        samples = self._overlap_add(everything)
        # The first overlap - 1 hops were the past's own start; the last ones lack the future.
        start = (FINE_OVERLAP - 1) * self.hop
        sound = samples[:, start : start + self.frames * self.hop]
        return sound, VocoderState(everything[:, -(FINE_OVERLAP - 1) :].clone())

    def _estimate(self, magnitude: Tensor, past: Tensor) -> Tensor:
        """Windowed frames (B, F, window) whose phases agree with the past and each other."""
        B, F, K = magnitude.shape
        # Start from phases that advance at each bin's own frequency.
        advance = 2 * torch.pi * self.hop * torch.arange(K, device=magnitude.device) / FINE_N_FFT
        last = torch.fft.rfft(past[:, -1:] * self.window, FINE_N_FFT)
        steps = torch.arange(1, F + 1, device=magnitude.device)[:, None]
        phase = last.angle() + steps * advance
        frames = self._resynthesise(magnitude, phase)
        spectrum = torch.polar(magnitude, phase)
        before = spectrum
        for _ in range(_ROUNDS):
            samples = self._overlap_add(torch.cat([past, frames], dim=1))
            view = samples.unfold(1, self.window_size, self.hop)[:, FINE_OVERLAP - 1 :]
            spectrum = torch.fft.rfft(view * self.window, FINE_N_FFT)
            phase = (spectrum + _MOMENTUM * (spectrum - before)).angle()
            before = spectrum
            frames = self._resynthesise(magnitude, phase)
        return frames
