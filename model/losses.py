"""Training losses of one batch, each a weighted mean over the positions that carry weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.model.backbone import Past
from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.noise import Noise
from microturn.model.streams import StreamLayout

MICRO_TURNS = "micro_turns"
HUSHED_MICRO_TURNS = 4  # of a stretch of the own voice that is read as silence


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


def hushed_history(patches: Tensor, noise: Noise, silence: Tensor, *, share: float) -> Tensor:
    """Replace stretches of own-voice patches (B, N, P, patch_dim) by `silence` (patch_dim,).

    A session whose voice missed the first patch of an utterance reads words beside a silent voice
    from then on. Who never saw that in training stays silent until the next utterance.
    """
    if not share:
        return patches
    n = patches.shape[1]
    begins = noise.share[:, ::HUSHED_MICRO_TURNS, :1] < share  # of no other use in such a stretch
    hushed = begins.repeat_interleave(HUSHED_MICRO_TURNS, dim=1)[:, :n]
    return torch.where(hushed, silence, patches)


def previous_patches(patches: Tensor, first: Tensor) -> Tensor:
    """Shift patches (B, N, P, patch_dim) by one in time; `first` (B or 1, patch_dim) is before."""
    B, N, P, size = patches.shape
    flat = patches.reshape(B, N * P, size)
    before = torch.cat([first[:, None].expand(B, 1, size), flat[:, :-1]], dim=1)
    return before.view(B, N, P, size)


@dataclass(frozen=True)
class Carried:
    """What a window of B dialogues leaves to the next one, without gradients."""

    past: Past
    patch: Tensor  # (B, patch_dim) the last one, clean


def position_losses(
    model: InteractionModel, batch: LaneBatch, noise: Noise, *, heard: Tensor | None = None
) -> dict[str, Tensor]:
    """Compute the loss of every position, (B * N * P,) by term in the order of `lane_terms`.

    heard: what the model reads in place of the true `heard`, (B, N, P).
    """
    return _window_position_losses(model, batch, noise, heard, None)[0]


def _window_position_losses(
    model: InteractionModel,
    batch: LaneBatch,
    noise: Noise,
    heard: Tensor | None,
    carried: Carried | None,
) -> tuple[dict[str, Tensor], Carried]:
    patches = model.patches(batch["audio_out"])
    read = batch if heard is None else replace(batch, lanes={**batch.lanes, "heard": heard})
    silence = model.silent_patch(1)
    history = hushed_history(patches, noise, silence[0], share=model.cfg.history_hushed)
    own_voice = noised_history(history, noise, max_share=model.cfg.history_noise)
    hidden, past = model.forward_window(read, own_voice, carried.past if carried else None)
    losses: dict[str, Tensor] = {}
    *token_lanes, flow = lane_terms(model.layout)
    for lane in token_lanes:
        logits = model.unembed(hidden[lane]).float()
        targets = batch[lane].flatten()
        losses[lane] = F.cross_entropy(logits.flatten(0, -2), targets, reduction="none")
    previous = previous_patches(history, carried.patch if carried else silence)
    losses[flow] = model.flow.loss(
        hidden["audio_out"].flatten(0, 2), patches.flatten(0, 2), previous.flatten(0, 2), noise.flow
    )
    return losses, Carried(past, patches[:, -1, -1])


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
    return window_losses(model, batch, None, noise=noise, totals=totals, heard=heard)[0]


def window_losses(
    model: InteractionModel,
    batch: LaneBatch,
    carried: Carried | None,
    *,
    noise: Noise | None = None,
    totals: Mapping[str, float] | None = None,
    heard: Tensor | None = None,
) -> tuple[dict[str, Tensor], Carried]:
    """Compute the losses of a window of dialogues, after the one that left `carried`."""
    if noise is None:
        B, N, P, size = model.patches(batch["audio_out"]).shape
        device = batch.missing_input.device
        noise = Noise.draw((B, N, P, size), n_draws=model.cfg.flow.draws, device=device)
    totals = totals or {}
    losses, carried = _window_position_losses(model, batch, noise, heard, carried)
    terms: dict[str, Tensor] = {}
    for term, error in losses.items():
        lane = "audio_out" if term == "flow" else term
        terms[term] = weighted_mean(error, batch.weights[lane].flatten(), total=totals.get(lane))
    terms["z"] = router_z_loss(model, terms["flow"])
    if MICRO_TURNS in totals:
        terms["z"] = terms["z"] * (batch.n_real / totals[MICRO_TURNS])
    loss, *others = terms.values()
    for other in others:
        loss = loss + other
    terms["loss"] = loss
    return terms, carried


def router_z_loss(model: InteractionModel, like: Tensor) -> Tensor:
    """Add up the weighted z-losses of all routers in the last forward pass."""
    routers = model.backbone.routers().values()  # a walk over all modules takes a millisecond
    z_losses = [m.z_loss * m.cfg.z_loss for m in routers if m.z_loss is not None]
    return torch.stack(z_losses).sum() if z_losses else like.new_zeros(())
