"""Streaming Griffin-Lim: fine log-mel to sound without parameters.

Each micro-turn's frames get phases by a few Griffin-Lim rounds in which the frames already played
stay fixed (after Zhu, Beauregard and Wyse, "Real-time signal estimation from modified STFT
magnitude spectra", 2007), so chunks join without clicks. A frame is causal: its window ends where
it ends, so sound lags the mel by window - hop samples (37.5 ms). B rows, F frames of a micro-turn,
K frequency bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from microturn.model.streams import StreamLayout
from microturn.model.streams.mel import FINE_N_FFT, FINE_OVERLAP, hann_window
from microturn.model.vocoders.base import Vocoder, VocoderState
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.frames import AUDIBLE, mel_inverse, squared_window

_ROUNDS = 12
_MOMENTUM = 0.9


class GriffinLim(Vocoder):
    """Carries the windowed frames that still overlap the future, (B, overlap - 1, window)."""

    label = "Griffin-Lim"
    inverse: Tensor
    window: Tensor
    norm: Tensor

    def __init__(self, cfg: VocoderConfig, layout: StreamLayout) -> None:
        super().__init__(cfg, layout)
        inverse = torch.tensor(mel_inverse(layout.sample_rate, FINE_N_FFT), dtype=torch.float32)
        window = torch.tensor(hann_window(self.grid.window))
        self.register_buffer("inverse", inverse, persistent=False)  # (80, K)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("norm", squared_window(window), persistent=False)

    def init_state(self, rows: int) -> VocoderState:
        return VocoderState(self.window.new_zeros(rows, FINE_OVERLAP - 1, self.grid.window))

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Overlap-add windowed frames (B, M, window) to samples (B, (M + overlap - 1) * hop)."""
        B, M, _ = frames.shape
        pieces = frames.view(B, M, FINE_OVERLAP, self.hop)
        total = frames.new_zeros(B, M + FINE_OVERLAP - 1, self.hop)
        for part in range(FINE_OVERLAP):
            total[:, part : part + M] += pieces[:, :, part]
        return (total / self.norm).flatten(1)

    def _resynthesise(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        signal = torch.fft.irfft(torch.polar(magnitude, phase), FINE_N_FFT)
        return signal[..., : self.grid.window] * self.window

    def step(self, log_mel: Tensor, state: VocoderState) -> tuple[Tensor, VocoderState]:
        mel = 10.0**log_mel
        mel = torch.where(mel > AUDIBLE, mel, 0.0)
        # Only a shortcut: silence gives zeros anyway, and on a GPU the test would wait for it.
        if not mel.is_cuda and not bool(mel.any()) and not bool(state.carried.any()):
            return mel.new_zeros(len(mel), mel.shape[1] * self.hop), state
        magnitude = (mel @ self.inverse).clamp_min(0.0)  # (B, F, K)
        past = state.carried
        frames = self._estimate(magnitude, past)
        everything = torch.cat([past, frames], dim=1)
        samples = self._overlap_add(everything)
        # The first overlap - 1 hops are the start of the past; the last ones lack the future.
        start = (FINE_OVERLAP - 1) * self.hop
        sound = samples[:, start : start + mel.shape[1] * self.hop]
        return sound, VocoderState(everything[:, -(FINE_OVERLAP - 1) :].clone())

    def _estimate(self, magnitude: Tensor, past: Tensor) -> Tensor:
        """Estimate windowed frames (B, F, window) whose phases fit the past and each other."""
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
            view = samples.unfold(1, self.grid.window, self.hop)[:, FINE_OVERLAP - 1 :]
            spectrum = torch.fft.rfft(view * self.window, FINE_N_FFT)
            phase = (spectrum + _MOMENTUM * (spectrum - before)).angle()
            before = spectrum
            frames = self._resynthesise(magnitude, phase)
        return frames
