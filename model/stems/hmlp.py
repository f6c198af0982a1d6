"""Stem of frames: a 40x40 patch becomes one vector by folding space into depth, stage by stage.

After the hierarchical MLP stem of Touvron et al. (arXiv 2203.09795) in the form that Inkling
ships (`InklingVisionModel` of transformers): every stage folds f x f neighbours into one, then a
linear layer without bias; RMSNorm and GELU between stages, a final RMSNorm. Patches do not
interact here. R x C patches of a frame, D width.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels.batch_invariant import elementwise
from microturn.model.linear import BatchInvariantLinear, RMSNorm
from microturn.model.streams.layout import PATCH_SIZE

EPS: Final = 1e-6
FOLDS: Final = (5, 2, 2, 2)  # stages of the stem: prime factors of the patch size
# Pixels are standardised with the constants of CLIP, as the reference does.
PIXEL_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD: Final = (0.26862954, 0.26130258, 0.27577711)


def fold(x: Tensor, size: int) -> Tensor:
    """Fold (..., H, W, C) into (..., H / size, W / size, size * size * C)."""
    x = x.unflatten(-3, (-1, size)).unflatten(-2, (-1, size))  # (..., h, size, w, size, C)
    return x.transpose(-4, -3).flatten(-3)


class HMLP(nn.Module):
    """Stem of one patch; `channels` are the widths after all stages but the last."""

    def __init__(self, d_model: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != len(FOLDS) - 1:
            raise ValueError(
                f"model.video_channels={list(channels)} must have {len(FOLDS) - 1} widths"
            )
        widths = (*channels, d_model)
        sources = [f * f * c for f, c in zip(FOLDS, (3, *channels), strict=True)]
        self.stages = nn.ModuleList(
            BatchInvariantLinear(source, width, bias=False)
            for source, width in zip(sources, widths, strict=True)
        )
        self.norms = nn.ModuleList(RMSNorm(width, eps=EPS) for width in widths)
        for stage, source in zip(self.stages, sources, strict=True):
            nn.init.normal_(stage.weight, std=source**-0.5)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed standardised patches (..., 40, 40, 3) as (..., D)."""
        x = pixels
        for size, stage, norm in zip(FOLDS, self.stages, self.norms, strict=True):
            x = norm(stage(fold(x, size)))
            if stage is not self.stages[-1]:
                x = elementwise(F.gelu, x)
        return x.flatten(-3)


class FrameEmbedding(nn.Module):
    """Embedding of frames: standardise, cut, stem, plus a vector per row and per column."""

    mean: Tensor
    std: Tensor

    def __init__(self, d_model: int, grid: tuple[int, int], channels: tuple[int, ...]) -> None:
        super().__init__()
        rows, cols = grid
        self.stem = HMLP(d_model, channels)
        self.rows = nn.Parameter(torch.empty(rows, d_model))
        self.cols = nn.Parameter(torch.empty(cols, d_model))
        self.register_buffer("mean", 255 * torch.tensor(PIXEL_MEAN), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(PIXEL_STD), persistent=False)
        # Together as strong as the vectors that mark the positions of the other lanes.
        nn.init.normal_(self.rows, std=0.5 / math.sqrt(2))
        nn.init.normal_(self.cols, std=0.5 / math.sqrt(2))

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames (..., H, W, 3) uint8 as (..., R * C, D), patches row by row."""
        pixels = (frames.to(self.rows.dtype) - self.mean) / self.std
        cut = pixels.unflatten(-3, (-1, PATCH_SIZE)).unflatten(-2, (-1, PATCH_SIZE))
        vectors = self.stem(cut.transpose(-4, -3))  # (..., R, C, D)
        marked = vectors + self.rows[:, None] + self.cols
        return marked.flatten(-3, -2)
