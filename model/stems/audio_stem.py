"""Stem of sound: overlapping windows over bands and frames of one position become one vector.

The table of `DMelEmbedding` gives each (band, bin) a vector of its own and adds them: two voices
whose formants differ by a band share nothing, and no sum of vectors tells a rise from a fall. These
layers slide over both axes instead, as the convolutions in front of recognisers do (Conformer,
arXiv 2005.08100, subsamples with two), so that what is learnt at one pitch holds at the next. They
see the frames of their own position alone: a session keeps no state of them.
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels.batch_invariant import elementwise, is_row_wise
from microturn.model.linear import BatchInvariantLinear, RMSNorm
from microturn.model.streams.mel import DMEL_BINS

EPS: Final = 1e-6
BANDS: Final = (8, 4)  # width of a window in bands, stage by stage
STRIDES: Final = (4, 2)
FRAMES: Final = 3  # of a window, the frame in its middle


class Windows(BatchInvariantLinear):
    """A product with every window of `bands` x `FRAMES`, `stride` bands and one frame apart."""

    def __init__(self, channels: int, width: int, bands: int, stride: int) -> None:
        super().__init__(channels * FRAMES * bands, width, bias=False)
        self.bands, self.stride = bands, stride

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, F, M, C) to (N, F, M / stride, width); beyond the edges is 0."""
        padding = (FRAMES // 2, (self.bands - self.stride) // 2)
        if not is_row_wise(input):
            kernel = self.weight.view(len(self.weight), -1, FRAMES, self.bands)
            x, steps = input.permute(0, 3, 1, 2), (1, self.stride)
            return F.conv2d(x, kernel, stride=steps, padding=padding).permute(0, 2, 3, 1)
        padded = F.pad(input, (0, 0, padding[1], padding[1], padding[0], padding[0]))
        cut = padded.unfold(1, FRAMES, 1).unfold(2, self.bands, self.stride)
        return super().forward(cut.flatten(-3))  # (N, F, m, C * FRAMES * bands)


class AudioStem(nn.Module):
    """Two stages of windows, a layer over all bands, and one over all frames of a position.

    channels: widths of the two stages and of a frame. The last layer starts at 0, so that a model
    that gets a stem computes what it did.
    """

    def __init__(self, d_model: int, n_mels: int, group: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != len(BANDS) + 1:
            raise ValueError(
                f"model.audio_channels={list(channels)} must have {len(BANDS) + 1} widths, or none"
            )
        self.group, rows, before = group, n_mels, 1
        self.windows = nn.ModuleList()
        for width, bands, stride in zip(channels, BANDS, STRIDES, strict=False):
            self.windows.append(Windows(before, width, bands, stride))
            rows, before = rows // stride, width
        self.over_bands = BatchInvariantLinear(rows * before, channels[-1], bias=False)
        self.norms = nn.ModuleList(RMSNorm(width, eps=EPS) for width in channels)
        self.join = BatchInvariantLinear(group * channels[-1], d_model, bias=False)
        for layer in (*self.windows, self.over_bands):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(self.join.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed bin ids (..., F, n_mels) as (..., F / group, D)."""
        x = ids.unflatten(-2, (-1, self.group))
        rows = x.flatten(0, -3).to(self.join.weight.dtype)
        y = (rows * (2.0 / (DMEL_BINS - 1)) - 1.0)[..., None]  # (N, group, n_mels, 1)
        for windows, norm in zip(self.windows, self.norms, strict=False):
            y = elementwise(F.gelu, norm(windows(y)))
        y = elementwise(F.gelu, self.norms[-1](self.over_bands(y.flatten(-2))))
        joined: Tensor = self.join(y.flatten(-2))
        return joined.unflatten(0, x.shape[:-2])
