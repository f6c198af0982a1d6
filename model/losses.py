"""Training losses of one batch, each a weighted mean over the positions that carry weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.noise import Noise

MICRO_TURNS = "micro_turns"


def weight_sums(batch: LaneBatch) -> dict[str, float]:
    """What the means of `compute_losses` are divided by: weights of each lane, micro-turns."""
    sums = {lane: float(weight.double().sum()) for lane, weight in batch.weights.items()}
    B, N = batch.shape
    return {**sums, MICRO_TURNS: float(B * N)}


def weighted_mean(values: Tensor, weight: Tensor, total: float | None = None) -> Tensor:
    """Of values with weights; `total` in place of their own sum where they are a part of more."""
    if total is None:
        return (values * weight).sum() / weight.sum().clamp_min(1e-6)
    return (values * weight).sum() / max(total, 1e-6)


def noised_history(patches: Tensor, largest: float, noise: Noise) -> Tensor:
    """Own-voice patches with a drawn share of noise, as CALM trains its history (2509.06926)."""
    share = noise.share * largest
    return (1 - share).sqrt() * patches + share.sqrt() * noise.history


def previous_patches(patches: Tensor, silent: Tensor) -> Tensor:
    """The patch before each one in time: (B, N, P, patch_dim), silence before the first."""
    B, N, P, size = patches.shape
    flat = patches.reshape(B, N * P, size)
    before = torch.cat([silent[:, None].expand(B, 1, size), flat[:, :-1]], dim=1)
    return before.view(B, N, P, size)


def compute_losses(
    model: InteractionModel,
    batch: LaneBatch,
    *,
    noise: Noise | None = None,
    totals: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """`loss` and its parts: `heard`, `say` (nats), `flow` (squared error), `z` (router).

    noise: drawn from torch's global generator where none is given. totals: `weight_sums` of all
    batches that make up one step; the losses of those batches then add up to that of the step.
    """
    patches = model.patches(batch["audio_out"])
    if noise is None:
        B, N, P, size = patches.shape
        noise = Noise.draw((B, N, P, size), n_draws=model.cfg.flow.draws, device=patches.device)
    totals = totals or {}
    hidden = model(batch, noised_history(patches, model.cfg.history_noise, noise))
    parts: dict[str, Tensor] = {}
    for lane in (spec.name for spec in model.layout.made_lanes if spec.kind == "tokens"):
        logits = model.unembed(hidden[lane]).float()
        entropy = F.cross_entropy(logits.flatten(0, -2), batch[lane].flatten(), reduction="none")
        parts[lane] = weighted_mean(entropy, batch.weights[lane].flatten(), totals.get(lane))
    previous = previous_patches(patches, model.silent_patch(1))
    error = model.flow.loss(
        hidden["audio_out"].flatten(0, 2), patches.flatten(0, 2), previous.flatten(0, 2), noise.flow
    )
    weight = batch.weights["audio_out"].flatten()
    parts["flow"] = weighted_mean(error, weight, totals.get("audio_out"))
    parts["z"] = router_z_loss(model, parts["flow"])
    if MICRO_TURNS in totals:
        B, N = batch.shape
        parts["z"] = parts["z"] * (B * N / totals[MICRO_TURNS])
    loss, *others = parts.values()
    for part in others:
        loss = loss + part
    parts["loss"] = loss
    return parts


def router_z_loss(model: InteractionModel, like: Tensor) -> Tensor:
    """Sum over the routers, weighted; of the positions of the last forward pass."""
    routers = [m for m in model.modules() if isinstance(m, MixtureOfExperts)]
    z_losses = [m.z_loss * m.cfg.z_loss for m in routers if m.z_loss is not None]
    return torch.stack(z_losses).sum() if z_losses else like.new_zeros(())
