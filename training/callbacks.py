"""What happens around steps: progress bar, saved states, and a stop that loses nothing."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.model.checkpoint import save_checkpoint
from microturn.model.streams import Tokenizer
from microturn.training import state
from microturn.training.module import TrainingModule
from microturn.training.state import Facts, State

_SHOWN_EVERY = 10  # steps between two readings of the losses: reading waits for the device


class Progress(Callback):
    """One bar on stderr: share of the run, losses, speed, and where the time goes.

    flops: of one dialogue, forward and backward; peak: FLOP/s of large matrix products on all
    devices together. Their ratio over time is the model FLOP utilisation (MFU).
    """

    def __init__(
        self, seconds_per_dialogue: float, flops: float, peak: Callable[[], float]
    ) -> None:
        self.seconds_per_dialogue, self.flops, self.measure_peak = seconds_per_dialogue, flops, peak
        self.bar: tqdm[Any] | None = None
        self.speed: dict[str, float] = {}
        self._peak = float("nan")
        self._began = self._waited = self._last_end = 0.0  # began: of the time that is trained
        self._steps = 0
        self._losses = ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._peak = self.measure_peak()
        self._last_end, self._began = time.monotonic(), pl_module.trained_seconds
        self.bar = tqdm(
            total=100.0,
            initial=round(100 * pl_module.progress, 1),
            desc="training",
            bar_format="{desc} {percentage:5.1f}%|{bar}| {elapsed}<{remaining}{postfix}",
            mininterval=1.0,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_start(self, *args: Any) -> None:
        self._waited += time.monotonic() - self._last_end

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        assert self.bar is not None
        self._last_end = time.monotonic()
        if not pl_module.stepped:
            return
        self._steps += 1
        if self._steps % _SHOWN_EVERY == 1:
            values = pl_module.whole_metrics()
            shown = ("say", "heard", "flow")
            self._losses = " ".join(f"{n} {values[f'loss/{n}']:.3f}" for n in shown)
        self.speed = self._speed(pl_module)
        rate, mfu, wait = (self.speed[n] for n in ("dialogues_per_s", "mfu", "data_wait"))
        self.bar.update(100 * pl_module.progress - self.bar.n)
        self.bar.set_postfix_str(
            f"step {pl_module.steps} {self._losses} {rate:.1f} dialogues/s "
            f"({rate * self.seconds_per_dialogue:.0f} x real time) MFU {mfu:.0%} "
            f"data wait {wait:.1%}",
            refresh=False,
        )

    def _speed(self, module: TrainingModule) -> dict[str, float]:
        spent = max(module.trained_seconds - self._began, 1e-9)
        rate = self._steps * module.cfg.batch_size / spent
        return {
            "dialogues_per_s": rate,
            "mfu": rate * self.flops / self._peak,
            "data_wait": self._waited / spent,
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
    """`states/` (to resume) and `checkpoint/` (to serve), now and then and at the end.

    Every file is written aside and renamed: a run that is killed while it saves keeps what it
    had. The state comes first, so that the checkpoint is never newer than what can be resumed.
    """

    def __init__(
        self,
        out: Path,
        tokenizer: Tokenizer,
        facts: Facts,
        *,
        minutes: float,
        steps: int,
        kept: int,
    ) -> None:
        self.out, self.tokenizer, self.facts = out, tokenizer, facts
        self.minutes, self.steps, self.kept = minutes, steps, kept
        self._last = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._last = time.monotonic()
        pl_module.wishes["save"] = self._is_time

    def _is_time(self) -> bool:
        return self.minutes > 0 and time.monotonic() - self._last > 60 * self.minutes

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.stepped:
            return
        by_steps = self.steps > 0 and pl_module.steps % self.steps == 0
        if by_steps or pl_module.granted.get("save"):
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.save(trainer, pl_module)

    def save(self, trainer: L.Trainer, module: TrainingModule) -> None:
        """Every process gathers, the first one writes; raises OSError in all of them."""
        weights, optimiser = state.gather(module.model, module.optimizer)
        failure = ""
        if trainer.is_global_zero:
            saved = State(
                path=state.path_of(self.out, module.steps),
                step=module.steps,
                trained_seconds=module.trained_seconds,
                facts=self.facts,
                weights=weights,
                optimiser=optimiser,
            )
            try:
                state.save(saved)
                save_checkpoint(self.out / "checkpoint", module.model, self.tokenizer, weights)
                state.keep_last(self.out, self.kept)
            except OSError as error:
                failure = str(error)
        failures = [text for text in module.ranks.texts(failure) if text]
        if failures:
            raise OSError(failures[0])
        self._last = time.monotonic()


class Stop(Callback):
    """Ctrl-C or SIGTERM: end with the step, so that a state can be saved; twice: at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are taken from here on, and handed back at the end."""
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in before:
                signal.signal(number, self._note)
        except ValueError:  # not the main thread: nobody can interrupt it
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        tqdm.write("stopping after this step; once more stops at once", file=sys.stderr)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        pl_module.wishes["stop"] = lambda: self.asked

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        alone = pl_module.ranks.world == 1 and self.asked
        if pl_module.stepped and (alone or pl_module.granted.get("stop")):
            self.asked = True
            trainer.should_stop = True
