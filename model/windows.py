"""Losses of long dialogues, window by window: memory for one window, the state carried on.

Attention of a window reads the keys and values of those before; no gradient crosses the border.
Each window is computed a second time in the backward pass, so one pass over the sum of all losses
needs the memory of a single window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from microturn.model.batch import LaneBatch
from microturn.model.losses import Carried, window_losses
from microturn.model.model import InteractionModel
from microturn.model.moe import counted_once
from microturn.model.noise import Noise


def losses_in_windows(
    model: InteractionModel,
    batch: LaneBatch,
    *,
    size: int,
    noise: Callable[[int, int], Noise],
    totals: Mapping[str, float],
    heard: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute what `compute_losses` does, `size` micro-turns at a time.

    noise(k, n): that of the n micro-turns of window k. totals: `weight_sums` of the step.
    heard: as in `compute_losses`.
    """

    def losses_of(k: int, carried: Carried | None) -> tuple[dict[str, Tensor], Carried]:
        window = batch.window(k * size, (k + 1) * size)
        own = noise(k, window.shape[1])
        read = None if heard is None else heard[:, k * size : (k + 1) * size]
        return window_losses(model, window, carried, noise=own, totals=totals, heard=read)

    carried: Carried | None = None
    sums: dict[str, Tensor] = {}
    for k in range(-(-batch.shape[1] // size)):
        losses, carried = checkpoint(
            losses_of,
            k,
            carried,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), counted_once(model)),
        )
        sums = {name: sums[name] + loss if sums else loss for name, loss in losses.items()}
    return sums
