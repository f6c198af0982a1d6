"""One optimiser step over the micro-batches of a batch; the losses are in model/losses.py."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from microturn.model.batch import LaneBatch
from microturn.model.losses import compute_losses, lane_terms
from microturn.model.model import InteractionModel
from microturn.model.moe import balance_
from microturn.model.noise import Noise
from microturn.model.stored.draws import without_memory
from microturn.model.stored.weights import give_weights
from microturn.model.windows import losses_in_windows
from microturn.training.agreement import (
    check_checkpoint,
    check_trainer,
    go_back_to_whole_step,
)
from microturn.training.config import TrainingConfig
from microturn.training.data import MicroBatch
from microturn.training.optim import build_optimizer, clip_gradients_, rate
from microturn.training.parallel import shard_model
from microturn.training.process_group import ProcessGroup, full_tensor
from microturn.training.reading.vary_sound import vary_sound
from microturn.training.start.freeze import freeze, hold_rows_
from microturn.training.start.memory import keep_freed_memory
from microturn.training.state import State, restore_optimiser
from microturn.training.validating.losses import ValidationLosses
from microturn.training.validating.read_heard import read_heard
from microturn.training.vocoder_loss import VocoderTask
from microturn.training.watch.expert_loads import load_metrics

_MAX_NAMED = 8  # dialogues of a bad batch that a message names
_VALIDATION: Final = 2**31  # in the seeds of noise, in place of a step
_KEY: Final = "microturn"  # of what this module adds to a Lightning checkpoint


@dataclass(eq=False)
class Request:
    """Work that a callback wants done after a step, in all processes or in none."""

    is_due: Callable[[], bool]  # asked before each step, in every process
    agreed: bool = False  # whether a process answered yes before the current step


class TrainingModule(L.LightningModule):
    """Losses, optimiser, schedule by steps or minutes, router balance, non-finite guard.

    `steps` counts optimiser steps over all runs that were resumed. No random generator outlives a
    step: step and row seed the noise of a dialogue, so that a resumed run, more devices, or more
    micro-batches give the same noise.
    """

    def __init__(
        self,
        model: InteractionModel,
        cfg: TrainingConfig,
        *,
        names: Callable[[int], str] = str,
        resumed: State | None = None,
        voice: VocoderTask | None = None,
    ) -> None:
        super().__init__()
        self._trained_marks = freeze(model, cfg.freeze)
        trained = [p for p in model.vocoder.parameters() if p.requires_grad]
        self.voice = voice if trained else None
        self.model, self.cfg, self.names, self.resumed = model, cfg, names, resumed
        self.steps = resumed.facts.step if resumed else 0
        self.trained_seconds = resumed.facts.trained_seconds if resumed else 0.0
        self.bridge = resumed.facts.bridge if resumed else None
        self.last_rates = resumed.facts.rates if resumed else {}  # of the last step, by group
        self.metrics: dict[str, Tensor] = {}  # of the last step, over all devices
        self.processes = ProcessGroup()
        self.stepped = False  # whether the last micro-batch ended a step
        self._requests: list[Request] = []
        self._clock_s = 0.0  # monotonic time at which `trained_seconds` was last brought up to date
        self._weight_totals: dict[str, float] = {}
        self._shared_seconds = self.trained_seconds  # the first process's clock, for all
        self._computed: list[tuple[MicroBatch, dict[str, Tensor]]] = []  # of this step
        self.validation = ValidationLosses(lane_terms(model.layout))
        self._validation_start_s = 0.0
        self._routers = model.backbone.routers()
        self.loads: dict[str, Tensor] = {}  # of the experts in the last step, by router

    # --- set-up ------------------------------------------------------------------------------
    def setup(self, stage: str) -> None:
        if stage == "fit":
            check_trainer(self.trainer, self.cfg)

    def configure_model(self) -> None:
        if self.cfg.parallel.is_sharded and not self.is_sharded:
            parallel = self.cfg.parallel.on(self.trainer.world_size)
            shard_model(self.model, parallel, self.trainer.strategy.root_device.type)
        if self.model.pending:
            give_weights(self.model, self.model.pending, ProcessGroup())
            self.model.pending = {}

    @property
    def is_sharded(self) -> bool:
        return hasattr(self.model.unembed.weight, "full_tensor")

    def configure_optimizers(self) -> Any:
        """Make the optimiser, and its schedule as a scheduler that Lightning steps and saves."""
        self.optimizer = build_optimizer(self.model, self.cfg.optim)
        if self.resumed is not None:
            restore_optimiser(self.resumed, self.model, self.optimizer)
            self.resumed = None
        shares = [self._share_of(group) for group in self.optimizer.param_groups]
        schedule = LambdaLR(self.optimizer, shares)
        step_by_step = {"scheduler": schedule, "interval": "step", "name": "rate"}
        return {"optimizer": self.optimizer, "lr_scheduler": step_by_step}

    def _rate(self) -> float:
        return rate(self.steps, self.progress, self.cfg.optim)

    def _share_of(self, group: dict[str, Any]) -> Callable[[int], float]:
        """Return the share of its peak rate that a group has at the current step."""
        name, peak, warm_up = group["name"], group["lr"], self.cfg.optim.warmup_steps

        def share(_: int) -> float:
            if self.bridge is None or not peak:
                return self._rate()
            new = self._rate() * peak
            return self.bridge.rate(name, new, step=self.steps, warmup_steps=warm_up) / peak

        return share

    def on_train_start(self) -> None:
        self.processes = ProcessGroup()
        self._clock_s = time.monotonic()
        if self.device.type == "cpu":
            keep_freed_memory()
        spins = self.device.type == "cpu" and "OMP_WAIT_POLICY" not in os.environ
        if spins and self.processes.rank == 0:
            print(
                "training: threads of torch spin while they wait, which takes the cores from "
                "other processes; import microturn.training before torch and lightning, or start "
                "Python with OMP_WAIT_POLICY=PASSIVE",
                file=sys.stderr,
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `fit(ckpt_path=...)` needs: where the run stands and what decided its steps."""
        checkpoint[_KEY] = {
            "step": self.steps,
            "trained_seconds": self.trained_seconds,
            "config": asdict(self.cfg),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on at the step of a Lightning checkpoint; ValueError where it is of another run."""
        saved = check_checkpoint(checkpoint, self.cfg, _KEY)
        self.steps, self.trained_seconds = int(saved["step"]), float(saved["trained_seconds"])
        self._shared_seconds = self.trained_seconds
        go_back_to_whole_step(checkpoint, self.steps * self.cfg.accumulate)

    # --- time --------------------------------------------------------------------------------
    @property
    def progress(self) -> float:
        """Share of the run that has been computed, by steps or by minutes, in [0, 1]."""
        steps = self.steps / self.cfg.max_steps
        minutes = self._shared_seconds / 60 / self.cfg.max_minutes if self.cfg.max_minutes else 0
        return min(1.0, max(steps, minutes))

    def exclude_time(self, seconds: float) -> None:
        """Leave time out of `trained_seconds` that was not spent on training."""
        self._clock_s += seconds

    def _update_clock(self) -> None:
        now = time.monotonic()
        self.trained_seconds += now - self._clock_s
        self._clock_s = now

    # --- a step ------------------------------------------------------------------------------
    def transfer_batch_to_device(
        self, batch: MicroBatch, device: torch.device, dataloader_idx: int
    ) -> MicroBatch:
        return batch.to(device)

    def training_step(self, batch: MicroBatch, batch_idx: int) -> Tensor:
        self.stepped = False
        if batch.index == 0:
            self._begin_step(batch)
        torch.manual_seed(seed_of(self.cfg.seed, batch.step, batch.first_row, 1))
        rows = range(batch.first_row, batch.first_row + batch.lanes.shape[0])
        losses = self._losses(batch)
        if self.voice is not None:
            losses |= self.voice.loss(
                self.model.vocoder, batch.step, rows=rows, batch_size=self.cfg.batch_size
            )
            weight = self.model.cfg.vocoder.weight
            losses["loss"] = losses["loss"] + weight * losses["vocoder"]
        self._computed.append((batch, {name: loss.detach() for name, loss in losses.items()}))
        # The trainer takes the mean over micro-batches and devices; these losses add up.
        return losses["loss"] * (self.cfg.accumulate * self.processes.world_size)

    def request(self, is_due: Callable[[], bool]) -> Request:
        """Register work for after a step; all processes register the same, in the same order."""
        self._requests.append(Request(is_due))
        return self._requests[-1]

    def _begin_step(self, first: MicroBatch) -> None:
        """Exchange, in one collective, the numbers that a step needs from all processes."""
        if first.step != self.steps:
            if self._computed:
                raise self._accumulates_otherwise("no step")
            raise ValueError(
                f"the data goes on at step {first.step} and the module at step {self.steps}; make "
                "both anew for another fit, and give ckpt_path= to go on from a checkpoint"
            )
        self._computed = []
        values = {f"weight/{name}": value for name, value in first.weight_sums.items()}
        values |= {f"request/{i}": float(r.is_due()) for i, r in enumerate(self._requests)}
        values["seconds"] = self.trained_seconds if self.processes.rank == 0 else 0.0
        totals = self.processes.sum(values)
        self._shared_seconds = totals["seconds"]
        self._weight_totals = {name: totals[f"weight/{name}"] for name in first.weight_sums}
        for i, request in enumerate(self._requests):
            request.agreed = totals[f"request/{i}"] > 0

    def _accumulates_otherwise(self, does: str) -> ValueError:
        return ValueError(
            f"the trainer takes {does} after {len(self._computed)} micro-batches, the "
            f"configuration one after accumulate={self.cfg.accumulate}; give both the same number"
        )

    def _losses(self, batch: MicroBatch) -> dict[str, Tensor]:
        totals = self._weight_totals
        rows = range(batch.first_row, batch.first_row + batch.lanes.shape[0])
        seeds = [[seed_of(self.cfg.seed, batch.step, row, use) for row in rows] for use in (4, 2)]
        lanes = vary_sound(batch.lanes, seeds[0], self.model.layout, self.cfg.sound)
        heard = read_heard(self.model, lanes, seeds[1], batch.step, self.cfg.heard)
        size = self.cfg.crop_micro_turns
        if not self.cfg.carry or lanes.shape[1] <= size:
            noise = self._noise(batch, 0, lanes.shape[1])
            return compute_losses(self.model, lanes, noise=noise, totals=totals, heard=heard)
        windows = partial(self._noise, batch)
        return losses_in_windows(
            self.model, lanes, size=size, noise=windows, totals=totals, heard=heard
        )

    def _noise(self, batch: MicroBatch, window: int, n: int) -> Noise:
        """Draw the noise of n micro-turns, those of a window of the batch."""
        rows = range(batch.first_row, batch.first_row + batch.lanes.shape[0])
        places = [(row, 3, window) if window else (row,) for row in rows]
        seeds = [seed_of(self.cfg.seed, batch.step, *place) for place in places]
        return self._noise_of(batch, seeds, n)

    def _noise_of(self, batch: MicroBatch, seeds: list[int], n: int) -> Noise:
        layout = self.model.layout
        return Noise.draw_by_row(
            seeds,
            (n, layout.audio_out_positions, layout.patch_dim),
            n_draws=self.model.cfg.flow.draws,
            device=batch.lanes.missing_input.device,
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        losses = [losses for _, losses in self._computed]
        if len(losses) != self.cfg.accumulate:
            raise self._accumulates_otherwise("a step")
        totals = torch.stack([torch.stack([*each.values()]).float() for each in losses]).sum(0)
        self.processes.sum_([totals])
        names = [f"loss/{name}" for name in losses[0]]
        self.metrics = dict(zip(names, totals.unbind(), strict=True))
        self.last_rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        first = optimizer.param_groups[0]
        self.metrics["rate"] = torch.tensor(self._share_of(first | {"lr": first["initial_lr"]})(0))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and stop before a step that would spoil the weights."""
        hold_rows_(self.model.embed.lane, self._trained_marks)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.metrics["gradient"] = norm = clip_gradients_(parameters, self.cfg.optim.clip)
        finite = torch.isfinite(norm.sum() + self.metrics["loss/loss"])
        if self.processes.any(not bool(finite)):
            raise ValueError(self._not_finite_message())

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.processes.sum_([router.load for router in self._routers.values()])
        if self._routers:
            loads = balance_([*self._routers.values()])
            self.loads = dict(zip(self._routers, loads.unbind(), strict=True))
            self.metrics |= load_metrics(loads)
        self.steps += 1
        self.stepped, self._computed = True, []
        self._update_clock()
        if self.processes.world_size == 1:
            self._shared_seconds = self.trained_seconds
        self.log_dict(self.metrics)
        if self.progress >= 1.0:
            self.trainer.should_stop = True

    # --- validation --------------------------------------------------------------------------
    def on_validation_start(self) -> None:
        self._validation_start_s = time.monotonic()

    def validation_step(self, batch: MicroBatch, batch_idx: int) -> None:
        seeds = [seed_of(self.cfg.seed, _VALIDATION, number) for number in batch.dialogues]
        # A session runs on whole weights: those of FSDP are gathered for whole dialogues only.
        self.validation.update(
            self.model,
            batch.lanes,
            self._noise_of(batch, seeds, batch.lanes.shape[1]),
            own=not self.is_sharded,
        )

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation.compute(own=not self.is_sharded))

    def on_validation_end(self) -> None:
        self.exclude_time(time.monotonic() - self._validation_start_s)

    # --- for callbacks -----------------------------------------------------------------------
    @property
    def dialogues_per_step(self) -> float:
        """Dialogues between two moments at which a step counts as done (`stepped`)."""
        return self.cfg.batch_size

    @property
    def passes(self) -> float:
        """Forward and backward passes over each of them."""
        return 1.0

    def headline(self) -> str:
        """Say how the last step went, for the progress bar."""
        names = lane_terms(self.model.layout)
        return " ".join(f"{name} {float(self.metrics[f'loss/{name}']):.3f}" for name in names)

    def unsharded_model(self) -> InteractionModel | None:
        """Return the model as one device can run it, in the first process; elsewhere None.

        A collective where weights are sharded, of one tensor after another: other processes hold
        one at a time.
        """
        is_first = self.processes.rank == 0
        if not self.is_sharded:
            return self.model if is_first else None
        weights = {}
        for name, value in self.model.state_dict().items():
            whole = full_tensor(value)
            if is_first:
                weights[name] = whole
        if not is_first:
            return None
        with without_memory():
            copy = InteractionModel(self.model.cfg, self.model.layout, self.model.vocab_size)
        copy.load_state_dict(weights, assign=True)
        copy.tokenizer, copy.notes = self.model.tokenizer, self.model.notes
        return copy.to(self.device)

    def lane_loads(self) -> dict[str, Tensor]:
        """Largest over mean load of experts by lane, mean over layers; last micro-batch only."""
        loads: dict[str, list[Tensor]] = {}
        layout = self.model.layout
        for router in self._routers.values():
            if router.chosen is None:
                continue
            E = router.cfg.n_experts
            by_position = router.chosen.view(-1, layout.n_positions, router.cfg.top_k)
            if router.real is not None:  # padding comes in whole micro-turns
                by_position = by_position[router.real.view(-1, layout.n_positions)[:, 0] > 0]
            for name, positions in layout.lanes.items():
                if positions.start == positions.stop:
                    continue
                load = torch.bincount(by_position[:, positions].flatten(), minlength=E).float()
                loads.setdefault(name, []).append(load.max() / load.mean())
        return {f"router/{name}": torch.stack(each).mean() for name, each in loads.items()}

    def _not_finite_message(self) -> str:
        """Name the dialogues whose own loss is not finite; the whole batch if all or none are."""
        bad, batch = [], []
        for micro_batch, _ in self._computed:
            batch += [self.names(i) for i in micro_batch.dialogues]
            if self.is_sharded:
                continue  # a forward pass of one device alone would wait for the others for ever
            rows = enumerate(micro_batch.dialogues)
            bad += [self.names(i) for b, i in rows if not self._is_finite(micro_batch.lanes.row(b))]
        named = bad if 0 < len(bad) < len(batch) else batch
        names = "\n".join(filter(None, self.processes.gather("\n".join(named)))).split("\n")
        more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        values = ", ".join(
            f"{name.removeprefix('loss/')} {float(value):.3g}"
            for name, value in self.metrics.items()
        )
        return (
            f"step {self.steps}: the loss or its gradient is not finite ({values}) for "
            f"{', '.join(names[:_MAX_NAMED])}{more}; the state before it is in "
            f"{self.cfg.out}/states: look at these dialogues, or lower optim.lr or optim.muon_lr"
        )

    @torch.no_grad()
    def _is_finite(self, row: LaneBatch) -> bool:
        return bool(torch.isfinite(compute_losses(self.model, row)["loss"]))


def seed_of(*numbers: int) -> int:
    """Derive a seed for torch from these numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
