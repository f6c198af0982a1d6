"""Callbacks of a run: progress bar and saved states. A stop that loses nothing is in stop.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from microturn.model.checkpoint import save_checkpoint
from microturn.model.model import InteractionModel
from microturn.model.stored.weights import failing_together
from microturn.model.streams import Tokenizer
from microturn.training import state
from microturn.training.module import Request, TrainingModule
from microturn.training.process_group import ProcessGroup, is_sharded
from microturn.training.sharding.background import Background, staged
from microturn.training.sharding.state_folder import save_folder
from microturn.training.start.run_identity import RunIdentity
from microturn.training.state import Facts
from microturn.training.watch.step_times import StepTimes

_HEADLINE_S = 1.0  # between two readings of the losses: reading waits for the device


class Progress(Callback):
    """One bar on stderr: share of the run, losses, speed, and the wait for data.

    flops_per_dialogue: forward and backward. measure_peak: gives the FLOP/s of large matrix
    products on all devices together; the model FLOP utilisation (MFU) is a share of it. times: the
    first callback, which learns here that the others have done their work.
    """

    def __init__(
        self,
        *,
        dialogue_s: float,
        flops_per_dialogue: float,
        measure_peak: Callable[[], float],
        times: StepTimes,
    ) -> None:
        self.dialogue_s, self.flops_per_dialogue = dialogue_s, flops_per_dialogue
        self.measure_peak, self.times = measure_peak, times
        self.bar: tqdm[Any] | None = None
        self.speed: dict[str, float] = {}
        self._peak = float("nan")
        self._start_s = 0.0  # `trained_seconds` when this run started or resumed
        self._steps = 0
        self._headline, self._headline_s = "", -_HEADLINE_S

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._peak = self.measure_peak()
        self._start_s = pl_module.trained_seconds
        self.times.wait_for_data()
        self.bar = tqdm(
            total=100.0,
            initial=round(100 * pl_module.progress, 1),
            desc="training",
            bar_format="{desc} {percentage:5.1f}%|{bar}| {elapsed}<{remaining}{postfix}",
            mininterval=1.0,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        assert self.bar is not None
        self.times.wait_for_data()
        if not pl_module.stepped:
            return
        self._steps += 1
        now_s = time.monotonic()
        if now_s - self._headline_s >= _HEADLINE_S:
            self._headline, self._headline_s = pl_module.headline(), now_s
        self.speed = self._speed(pl_module)
        rate, mfu, wait = (self.speed[n] for n in ("dialogues_per_s", "mfu", "data_wait"))
        self.bar.update(100 * pl_module.progress - self.bar.n)
        self.bar.set_postfix_str(
            f"step {pl_module.steps} {self._headline} {rate:.1f} dialogues/s "
            f"({rate * self.dialogue_s:.0f} x real time) MFU {mfu:.0%} "
            f"data wait {wait:.1%}",
            refresh=False,
        )

    def _speed(self, module: TrainingModule) -> dict[str, float]:
        elapsed_s = max(module.trained_seconds - self._start_s, 1e-9)
        rate = self._steps * module.dialogues_per_step / elapsed_s
        return {
            "dialogues_per_s": rate,
            "mfu": rate * self.flops_per_dialogue / self._peak,
            "data_wait": self.times.waited_s / elapsed_s,
        }

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if self.bar is not None:
            self.bar.close()


class SaveState(Callback):
    """Saves `states/` (to resume) and `checkpoint/` (to serve), at intervals, asked, at the end.

    Every file is written beside the old one and renamed: a run that is killed while it saves keeps
    the old one. The state comes first, so that no checkpoint is newer than the last state. Each
    process writes what it holds.
    """

    def __init__(
        self,
        out: Path,
        tokenizer: Tokenizer,
        *,
        run: RunIdentity,
        notes: Mapping[str, str],
        every_minutes: float,
        every_steps: int,
        n_kept: int,
        replaced: Sequence[Path] = (),
        is_asked: Callable[[], bool] = lambda: False,
        is_good: Callable[[], bool] = lambda: True,
    ) -> None:
        self.out, self.tokenizer, self.run = out, tokenizer, run
        self.notes = notes  # more files of the checkpoint
        self.every_minutes, self.every_steps, self.n_kept = every_minutes, every_steps, n_kept
        self.replaced = replaced  # states of a run that this one starts over
        self.is_asked = is_asked
        self.is_good = is_good  # whether a state is worth keeping that nobody asks for
        self._last_s = time.monotonic()
        self._request: Request | None = None
        self._writing = Background()
        self._saved_step = 0  # of the last state in a folder

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._last_s = time.monotonic()
        self._request = pl_module.request(self._is_due)
        self._peers = ProcessGroup()  # of its own: it may be busy while others are used
        self._saved_step = pl_module.steps  # a run begins at no state or goes on from one

    def _is_due(self) -> bool:
        elapsed_s = time.monotonic() - self._last_s
        return self.is_asked() or (self.is_good() and 0 < 60 * self.every_minutes < elapsed_s)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.stepped:
            return
        assert self._request is not None
        by_steps = self.every_steps > 0 and pl_module.steps % self.every_steps == 0
        if (by_steps and self.is_good()) or self._request.agreed:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.save(trainer, pl_module)
        self._writing.wait()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        with suppress(OSError):  # the exception is what ends the run
            self._writing.wait()

    def save(self, trainer: L.Trainer, module: TrainingModule) -> None:
        """Write in all processes; raises OSError in all of them, also for the saving before.

        What a GPU holds is copied to its machine's memory, and written while training goes on.
        """
        self._writing.wait()
        tensors = state.tensors_of(module.model, module.optimizer)
        facts = Facts(
            step=module.steps,
            trained_seconds=module.trained_seconds,
            run=self.run,
            rates=module.last_rates,
            bridge=module.bridge,
        )
        write = partial(self._write, module.model, facts)
        if module.is_sharded and module.device.type == "cuda":
            self._writing.start(partial(write, staged(tensors)))
        else:
            write(tensors)
        self._last_s = time.monotonic()

    def _write(self, model: InteractionModel, facts: Facts, tensors: Mapping[str, Tensor]) -> None:
        peers = self._peers
        path = state.path_of(self.out, facts.step)
        if is_sharded(tensors.values()):
            path = path.with_suffix("")
            if facts.step != self._saved_step:
                save_folder(path, tensors, facts.to_json(), peers)
        else:
            with failing_together(peers):
                if peers.rank == 0:
                    state.save(path, facts, tensors)
        self._saved_step = facts.step
        if peers.rank == 0:
            for old in {*self.replaced} - {path}:
                state.remove(old)
        weights = state.weights_of(tensors)
        save_checkpoint(
            self.out / "checkpoint",
            model,
            self.tokenizer,
            weights=weights,
            notes=self.notes,
            saved=f"step {facts.step}",
            peers=peers,
        )
        if peers.rank == 0:
            state.keep_last(self.out, self.n_kept)
