"""Hop and window of the fine mel frames, and the inverse of their mel filters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from microturn.model.streams import StreamLayout
from microturn.model.streams.mel import FINE_N_FFT, FINE_OVERLAP, mel_filters

AUDIBLE = 10**-3.5  # below this mel magnitude a band is silence


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
    """Compute the ridge inverse (80, n_fft // 2 + 1) of the mel filters, mel to bin magnitudes.

    The ridge keeps the inverse stable where narrow low bands share one frequency bin. Another FFT
    length than that of the analysis has fewer or more bins in a band, hence the factor.
    """
    filters = np.asarray(mel_filters(sample_rate, n_fft), np.float64) * (FINE_N_FFT / n_fft)
    gram = filters.T @ filters
    return np.linalg.solve(gram + 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram)), filters.T)


def squared_window(window: Tensor) -> Tensor:
    """Sum squared windows at each offset of a hop, (hop,), the divisor of overlap-add."""
    return window.square().view(FINE_OVERLAP, -1).sum(0).clamp_min(1e-3)
