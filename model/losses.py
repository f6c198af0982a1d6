"""Training losses of one batch, each a weighted mean over the positions that carry weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.noise import Noise
from microturn.model.streams import StreamLayout

MICRO_TURNS = "micro_turns"


def lane_terms(layout: StreamLayout) -> list[str]:
    """Name the terms of the made lanes: those of tokens by lane, and that of the flow head."""
    return [*(spec.name for spec in layout.made_lanes if spec.kind == "tokens"), "flow"]


def weight_sums(batch: LaneBatch) -> dict[str, float]:
    """Sum the weights that `compute_losses` divides by: of each lane, and micro-turns."""
    sums = {lane: float(weight.double().sum()) for lane, weight in batch.weights.items()}
    return {**sums, MICRO_TURNS: float(batch.n_real)}


def weighted_mean(values: Tensor, weight: Tensor, *, total: float | None = None) -> Tensor:
    """Weighted mean of `values`.

    `total` replaces `weight.sum()` when this is one micro-batch of a larger step.
    """
    if total is None:
        return (values * weight).sum() / weight.sum().clamp_min(1e-6)
    return (values * weight).sum() / max(total, 1e-6)


def noised_history(patches: Tensor, noise: Noise, *, max_share: float) -> Tensor:
    """Mix noise into own-voice patches, as CALM trains its history (arXiv 2509.06926)."""
    share = noise.share * max_share
    return (1 - share).sqrt() * patches + share.sqrt() * noise.history


def previous_patches(patches: Tensor, silent: Tensor) -> Tensor:
    """Shift patches (B, N, P, patch_dim) by one in time; silence comes first."""
    B, N, P, size = patches.shape
    flat = patches.reshape(B, N * P, size)
    before = torch.cat([silent[:, None].expand(B, 1, size), flat[:, :-1]], dim=1)
    return before.view(B, N, P, size)


def position_losses(
    model: InteractionModel, batch: LaneBatch, noise: Noise, *, heard: Tensor | None = None
) -> dict[str, Tensor]:
    """Compute the loss of every position, (B * N * P,) by term in the order of `lane_terms`.

    heard: what the model reads in place of the true `heard`, (B, N, P).
    """
    patches = model.patches(batch["audio_out"])
    read = batch if heard is None else replace(batch, lanes={**batch.lanes, "heard": heard})
    hidden = model(read, noised_history(patches, noise, max_share=model.cfg.history_noise))
    losses: dict[str, Tensor] = {}
    *token_lanes, flow = lane_terms(model.layout)
    for lane in token_lanes:
        logits = model.unembed(hidden[lane]).float()
        targets = batch[lane].flatten()
        losses[lane] = F.cross_entropy(logits.flatten(0, -2), targets, reduction="none")
    previous = previous_patches(patches, model.silent_patch(1))
    losses[flow] = model.flow.loss(
        hidden["audio_out"].flatten(0, 2), patches.flatten(0, 2), previous.flatten(0, 2), noise.flow
    )
    return losses


def compute_losses(
    model: InteractionModel,
    batch: LaneBatch,
    *,
    noise: Noise | None = None,
    totals: Mapping[str, float] | None = None,
    heard: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute `loss` and its terms: `heard`, `say` (nats), `flow` (squared error), `z` (router).

    noise: drawn from torch's global generator by default. totals: `weight_sums` over all
    micro-batches of a step; their losses then add up to that of the step. heard: (B, N, P) token
    ids that the model reads in place of the true ones, which it is to predict all the same.
    """
    if noise is None:
        B, N, P, size = model.patches(batch["audio_out"]).shape
        device = batch.missing_input.device
        noise = Noise.draw((B, N, P, size), n_draws=model.cfg.flow.draws, device=device)
    totals = totals or {}
    terms: dict[str, Tensor] = {}
    for term, error in position_losses(model, batch, noise, heard=heard).items():
        lane = "audio_out" if term == "flow" else term
        terms[term] = weighted_mean(error, batch.weights[lane].flatten(), total=totals.get(lane))
    terms["z"] = router_z_loss(model, terms["flow"])
    if MICRO_TURNS in totals:
        terms["z"] = terms["z"] * (batch.n_real / totals[MICRO_TURNS])
    loss, *others = terms.values()
    for other in others:
        loss = loss + other
    terms["loss"] = loss
    return terms


def router_z_loss(model: InteractionModel, like: Tensor) -> Tensor:
    """Add up the weighted z-losses of all routers in the last forward pass."""
    routers = [m for m in model.modules() if isinstance(m, MixtureOfExperts)]
    z_losses = [m.z_loss * m.cfg.z_loss for m in routers if m.z_loss is not None]
    return torch.stack(z_losses).sum() if z_losses else like.new_zeros(())
