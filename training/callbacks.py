"""What happens around steps: progress bar, log, saved states, listening."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.model.checkpoint import save_checkpoint
from microturn.model.streams import Tokenizer
from microturn.training.module import TrainingModule

_LOGGED = ("loss/loss", "loss/heard", "loss/say", "loss/flow", "loss/z", "router/imbalance", "rate")


class Progress(Callback):
    """One bar on stderr: share of the run, losses, dialogues/s, share of time spent on data."""

    def __init__(self, seconds_per_dialogue: float) -> None:
        self.seconds_per_dialogue = seconds_per_dialogue
        self.bar: tqdm[Any] | None = None
        self._began = self._waited = self._last_end = 0.0
        self._steps = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._began = self._last_end = time.monotonic()
        self.bar = tqdm(
            total=100.0,
            initial=round(100 * pl_module.progress, 1),
            desc="training",
            bar_format="{desc} {percentage:5.1f}%|{bar}| {elapsed}<{remaining}{postfix}",
            mininterval=1.0,
        )

    def on_train_batch_start(self, *args: Any) -> None:
        self._waited += time.monotonic() - self._last_end

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        assert self.bar is not None
        self._steps += 1
        self._last_end = time.monotonic()
        spent = self._last_end - self._began
        rate = self._steps * pl_module.cfg.batch_size / spent
        values = {k.split("/")[-1]: float(v) for k, v in trainer.callback_metrics.items()}
        self.bar.update(100 * pl_module.progress - self.bar.n)
        self.bar.set_postfix_str(
            f"step {trainer.global_step} say {values.get('say', 0):.3f} "
            f"heard {values.get('heard', 0):.3f} flow {values.get('flow', 0):.3f} "
            f"{rate:.1f} dialogues/s ({rate * self.seconds_per_dialogue:.0f} x real time) "
            f"data wait {self._waited / spent:.1%}"
        )

    def on_train_end(self, *args: Any) -> None:
        if self.bar is not None:
            self.bar.close()


class CsvLog(Callback):
    """`log/metrics.csv`: one line every few steps, appended to by a resumed run."""

    def __init__(self, path: Path, every: int = 10) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if trainer.global_step % self.every:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", *_LOGGED])
            values = [f"{float(trainer.callback_metrics.get(k, 'nan')):.5g}" for k in _LOGGED]
            writer.writerow([trainer.global_step, f"{pl_module.trained_seconds:.1f}", *values])


class SaveState(Callback):
    """`last.ckpt` (to resume) and `checkpoint/` (to serve), every few minutes and at the end.

    Both are written aside and renamed, so that a killed run keeps the previous ones.
    """

    def __init__(self, out: Path, tokenizer: Tokenizer, minutes: float) -> None:
        self.out, self.tokenizer, self.minutes = out, tokenizer, minutes
        self._last = time.monotonic()

    def save(self, trainer: L.Trainer, module: TrainingModule) -> None:
        aside = self.out / "last.ckpt.tmp"
        trainer.save_checkpoint(aside)
        aside.replace(self.out / "last.ckpt")
        save_checkpoint(self.out / "checkpoint", module.model, self.tokenizer)
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if time.monotonic() - self._last > 60 * self.minutes:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.save(trainer, pl_module)
