"""Training losses of one batch, each a weighted mean over the positions that carry weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def noised_history(patches: Tensor, largest: float) -> Tensor:
    """Own-voice patches with a drawn share of noise, as CALM trains its history (2509.06926)."""
    share = torch.rand(patches.shape[:3] + (1,), device=patches.device) * largest
    return (1 - share).sqrt() * patches + share.sqrt() * torch.randn_like(patches)


def previous_patches(patches: Tensor, silent: Tensor) -> Tensor:
    """The patch before each one in time: (B, N, P, patch_dim), silence before the first."""
    B, N, P, size = patches.shape
    flat = patches.reshape(B, N * P, size)
    before = torch.cat([silent[:, None].expand(B, 1, size), flat[:, :-1]], dim=1)
    return before.view(B, N, P, size)


def compute_losses(model: InteractionModel, batch: LaneBatch) -> dict[str, Tensor]:
    """`loss` and its parts: `heard`, `say` (nats), `flow` (squared error), `z` (router)."""
    patches = model.patches(batch.audio_out)
    history = noised_history(patches, model.cfg.history_noise)
    hidden = model(batch, history)
    parts: dict[str, Tensor] = {}
    for name in ("heard", "say"):
        logits = model.unembed(hidden[name]).float()
        target, weight = getattr(batch, name), getattr(batch, f"{name}_weight")
        entropy = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
        parts[name] = weighted_mean(entropy, weight.flatten())
    previous = previous_patches(patches, model.silent_patch(1))
    error = model.flow.loss(
        hidden["audio_out"].flatten(0, 2), patches.flatten(0, 2), previous.flatten(0, 2)
    )
    parts["flow"] = weighted_mean(error, batch.audio_out_weight.flatten())
    routers = [m for m in model.modules() if isinstance(m, MixtureOfExperts)]
    z_losses = [m.z_loss * m.cfg.z_loss for m in routers if m.z_loss is not None]
    parts["z"] = torch.stack(z_losses).sum() if z_losses else parts["say"].new_zeros(())
    parts["loss"] = parts["heard"] + parts["say"] + parts["flow"] + parts["z"]
    return parts
