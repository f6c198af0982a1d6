"""Validation losses: by lane, at onsets, with the true `heard` and with the model's own.

| name | loss |
|---|---|
| `validate/heard`, `/say`, `/flow` | weighted means, as in training |
| `validate/loss` | their sum |
| `validate/NAME_onset` | at the first word or patch of a voice after idling alone |
| `validate/own_heard/...` | the same where the model reads what it heard itself |
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from microturn.model.batch import LaneBatch
from microturn.model.losses import position_losses
from microturn.model.model import InteractionModel
from microturn.model.noise import Noise
from microturn.model.own_heard import own_heard
from microturn.model.streams.packing import ONSET_WEIGHT

PREFIX, OWN = "validate", "validate/own_heard"
AT = ("", "_onset")


def onsets(batch: LaneBatch, lane: str) -> Tensor:
    """Mark the positions of a made lane where speech begins, (B, N, P) bool."""
    weight = batch.weights[lane]
    if lane != "audio_out":
        return weight == ONSET_WEIGHT
    sounding = weight.flatten(1) == 1.0
    before = torch.cat([torch.zeros_like(sounding[:, :1]), sounding[:, :-1]], dim=1)
    return (sounding & ~before).view_as(weight)


class ValidationLosses(nn.Module):
    """Means over all validation dialogues of all devices; a mean of nothing is NaN."""

    def __init__(self, terms: list[str]) -> None:
        super().__init__()
        self.terms = terms
        names = [f"{prefix}/{term}{at}" for prefix in (PREFIX, OWN) for term in terms for at in AT]
        # "disable" would drop the weights as well (torchmetrics 1.9)
        self.means = nn.ModuleDict({name: MeanMetric(nan_strategy="error") for name in names})

    @property
    def names(self) -> list[str]:
        """Names of all losses."""
        return [*self.means, f"{PREFIX}/loss", f"{OWN}/loss"]

    @torch.no_grad()
    def update(self, model: InteractionModel, batch: LaneBatch, noise: Noise, *, own: bool) -> None:
        """Add a batch; own: also with the model's own `heard`."""
        self._add(PREFIX, batch, position_losses(model, batch, noise))
        if own:
            heard = own_heard(model, batch, model.patches(batch["audio_out"]))
            self._add(OWN, batch, position_losses(model, batch, noise, heard=heard))

    def _add(self, prefix: str, batch: LaneBatch, errors: Mapping[str, Tensor]) -> None:
        for term, error in errors.items():
            lane = "audio_out" if term == "flow" else term
            for at, weight in (
                ("", batch.weights[lane]),
                ("_onset", onsets(batch, lane).to(error.dtype)),
            ):
                mean = self.means[f"{prefix}/{term}{at}"]
                assert isinstance(mean, MeanMetric)
                mean.update(error, weight.flatten())

    def compute(self, *, own: bool) -> dict[str, Tensor]:
        """Return all means by name, and their sums; starts over. A collective."""
        values: dict[str, Tensor] = {}
        for name, mean in self.means.items():
            assert isinstance(mean, MeanMetric)
            if own or not name.startswith(OWN):
                values[name] = mean.compute()
            mean.reset()
        for prefix in (PREFIX, OWN) if own else (PREFIX,):
            terms = [values[f"{prefix}/{term}"] for term in self.terms]
            values[f"{prefix}/loss"] = torch.stack(terms).sum()
        return values
