"""One optimiser step on the parts of a batch; what to learn is in model/losses.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.losses import compute_losses
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.noise import Noise
from microturn.training.config import TrainingConfig
from microturn.training.data import Part
from microturn.training.optim import build_optimizer, rate
from microturn.training.parallel import shard_blocks
from microturn.training.process_group import ProcessGroup, whole
from microturn.training.state import State, restore_optimiser
from microturn.training.vocoder_loss import VoiceTask

_NAMED = 8  # dialogues of a bad batch that a message names


class TrainingModule(L.LightningModule):
    """Losses, optimiser, schedule by steps or minutes, router balance, non-finite guard.

    `steps` counts optimiser steps over all runs that were resumed. Nothing is drawn from a
    generator that lives on: step and row seed what a dialogue gets, so that a resumed run, more
    devices, or more parts give the same noise.
    """

    def __init__(
        self,
        model: InteractionModel,
        cfg: TrainingConfig,
        *,
        names: Callable[[int], str] = str,
        resumed: State | None = None,
        voice: VoiceTask | None = None,
    ) -> None:
        super().__init__()
        self.voice = voice
        self.model, self.cfg, self.names, self.resumed = model, cfg, names, resumed
        self.steps = resumed.step if resumed else 0
        self.trained_seconds = resumed.trained_seconds if resumed else 0.0
        self.wishes: dict[str, Callable[[], bool]] = {}  # what callbacks want done after a step
        self.granted: dict[str, bool] = {}
        self.metrics: dict[str, Tensor] = {}  # of the last step, this device's share
        self.ranks = ProcessGroup()
        self.stepped = False  # whether the part that has just been done ended a step
        self._last_tick = 0.0
        self._totals: dict[str, float] = {}
        self._seconds = self.trained_seconds  # of the first process: all follow one clock
        self._done: list[tuple[Part, dict[str, Tensor]]] = []
        self._routers = [m for m in model.modules() if isinstance(m, MixtureOfExperts)]

    # --- set-up ------------------------------------------------------------------------------
    def configure_model(self) -> None:
        wanted = self.cfg.strategy == "fsdp" and self.trainer.world_size > 1
        if wanted and not self._is_sharded:
            assert self.device_mesh is not None
            shard_blocks(self.model, self.device_mesh["data_parallel"])

    @property
    def _is_sharded(self) -> bool:
        return hasattr(self.model.unembed.weight, "full_tensor")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        self.optimizer = build_optimizer(self.model, self.cfg.optim)
        if self.resumed is not None:
            restore_optimiser(self.resumed, self.model, self.optimizer)
            self.resumed = None  # it is large
        return self.optimizer

    def on_train_start(self) -> None:
        self.ranks = ProcessGroup()
        self._last_tick = time.monotonic()

    # --- time --------------------------------------------------------------------------------
    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by minutes, in [0, 1]."""
        steps = self.steps / self.cfg.max_steps
        minutes = self._seconds / 60 / self.cfg.max_minutes if self.cfg.max_minutes else 0
        return min(1.0, max(steps, minutes))

    def skip_time(self, seconds: float) -> None:
        """Do not count time that was spent on something else, such as listening."""
        self._last_tick += seconds

    def _tick(self) -> None:
        now = time.monotonic()
        self.trained_seconds += now - self._last_tick
        self._last_tick = now

    # --- a step ------------------------------------------------------------------------------
    def transfer_batch_to_device(
        self, batch: Part, device: torch.device, dataloader_idx: int
    ) -> Part:
        return batch.to(device)

    def training_step(self, part: Part, batch_idx: int) -> Tensor:
        self.stepped = False
        if part.index == 0:
            self._begin(part)
        torch.manual_seed(seed_of(self.cfg.seed, part.step, part.first_row, 1))
        parts = compute_losses(self.model, part.lanes, noise=self._noise(part), totals=self._totals)
        if self.voice is not None:
            rows = range(part.first_row, part.first_row + part.lanes.shape[0])
            parts |= self.voice.loss(self.model.vocoder, part.step, rows, self.cfg.batch_size)
            weight = self.model.cfg.vocoder.weight
            parts["loss"] = parts["loss"] + weight * parts["vocoder"]
        self._done.append((part, {name: value.detach() for name, value in parts.items()}))
        # The trainer takes the mean over parts and devices; these losses add up.
        return parts["loss"] * (self.cfg.accumulate * self.ranks.world)

    def _begin(self, part: Part) -> None:
        """What all processes have to know before the first part of a step."""
        self._done = []
        mine = {f"sum/{name}": value for name, value in part.sums.items()}
        mine |= {f"wish/{name}": float(wanted()) for name, wanted in self.wishes.items()}
        mine["seconds"] = self.trained_seconds if self.ranks.rank == 0 else 0.0
        all_of_us = self.ranks.sums(mine)
        self._seconds = all_of_us.pop("seconds")
        self._totals = _under("sum/", all_of_us)
        self.granted = {name: value > 0 for name, value in _under("wish/", all_of_us).items()}

    def _noise(self, part: Part) -> Noise:
        layout, (B, N) = self.model.layout, part.lanes.shape
        rows = range(part.first_row, part.first_row + B)
        return Noise.draw_by_row(
            [seed_of(self.cfg.seed, part.step, row) for row in rows],
            (N, layout.audio_out_positions, layout.patch_dim),
            self.model.cfg.flow.draws,
            part.lanes.missing_input.device,
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        share = rate(self.steps, self.progress, self.cfg.optim)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        losses = [losses for _, losses in self._done]
        self.metrics = {f"loss/{n}": torch.stack([p[n] for p in losses]).sum() for n in losses[0]}
        self.metrics["rate"] = torch.tensor(share)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and stop before a step that would spoil the weights."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = whole(torch.nn.utils.clip_grad_norm_(parameters, self.cfg.optim.clip))
        self.metrics["gradient"] = norm
        finite = torch.isfinite(norm.sum() + self.metrics["loss/loss"])
        if self.ranks.any(not bool(finite)):
            raise ValueError(self._what_is_not_finite())

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.ranks.add_([router.load for router in self._routers])
        uneven = []
        for router in self._routers:
            load = router.update_bias_()
            uneven.append(load.max() / load.mean().clamp_min(1))
        if uneven:
            self.metrics["router/imbalance"] = torch.stack(uneven).mean()
        self.steps += 1
        self.stepped = True
        self._tick()
        if self.ranks.world == 1:
            self._seconds = self.trained_seconds
        if self.progress >= 1.0:
            self.trainer.should_stop = True

    # --- what others ask for -----------------------------------------------------------------
    def whole_metrics(self) -> dict[str, float]:
        """Metrics of the last step: losses over all devices, which all have to call this."""
        mine = {name: float(value) for name, value in self.metrics.items()}
        losses = {name: value for name, value in mine.items() if name.startswith("loss/")}
        return mine | self.ranks.sums(losses)

    def plain_model(self) -> InteractionModel:
        """The model as one device can run it; where it is spread, all processes call this."""
        if not self._is_sharded:
            return self.model
        weights = {name: whole(value) for name, value in self.model.state_dict().items()}
        copy = InteractionModel(self.model.cfg, self.model.layout, self.model.vocab_size)
        copy.load_state_dict(weights)
        return copy.to(self.device)

    def lane_loads(self) -> dict[str, Tensor]:
        """Largest over mean load of the experts by lane, mean over layers; of the last part."""
        loads: dict[str, list[Tensor]] = {}
        layout = self.model.layout
        for router in self._routers:
            if router.chosen is None:
                continue
            E = router.cfg.n_experts
            by_position = router.chosen.view(-1, layout.n_positions, router.cfg.top_k)
            for name, places in layout.lanes.items():
                if places.start == places.stop:
                    continue
                load = torch.bincount(by_position[:, places].flatten(), minlength=E).float()
                loads.setdefault(name, []).append(load.max() / load.mean())
        return {f"router/{name}": torch.stack(each).mean() for name, each in loads.items()}

    def _what_is_not_finite(self) -> str:
        """Names the dialogues whose own loss is not finite; all of the batch if none stands out."""
        bad, batch = [], []
        for part, _ in self._done:
            batch += [self.names(i) for i in part.dialogues]
            if self._is_sharded:
                continue  # a pass of one device alone would wait for the others for ever
            rows = enumerate(part.dialogues)
            bad += [self.names(i) for b, i in rows if not self._is_finite(part.lanes.row(b))]
        stands_out = 0 < len(bad) < len(batch)
        said = [text for text in self.ranks.texts("\n".join(bad if stands_out else batch)) if text]
        names = "\n".join(said).split("\n")
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        values = ", ".join(
            f"{name.removeprefix('loss/')} {float(value):.3g}"
            for name, value in self.metrics.items()
        )
        return (
            f"step {self.steps}: the loss or its gradient is not finite ({values}) for "
            f"{', '.join(names[:_NAMED])}{more}; the state before it is in {self.cfg.out}/states: "
            "look at these dialogues, or lower optim.lr or optim.muon_lr"
        )

    @torch.no_grad()
    def _is_finite(self, row: LaneBatch) -> bool:
        return bool(torch.isfinite(compute_losses(self.model, row)["loss"]))


def seed_of(*numbers: int) -> int:
    """A seed for torch that is a function of these numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _under(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
