"""Signals while training: one that ends the run loses no step, SIGUSR1 saves and goes on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.configs.signals import ENDING, Interrupted, handling
from microturn.training.module import Request, TrainingModule

SAVING: Final = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()


class Stop(Callback):
    """On a signal that asks to end, ends the run after the step and saves; it may come twice.

    A second Ctrl-C stops at once. SIGUSR1, which Slurm can send before the time is over
    (`--signal`), saves a state after the step, and the run goes on.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal that asked to end
        self._must_save = False
        self._request: Request | None = None

    @property
    def requested(self) -> bool:
        return self.number != 0

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle all these signals inside the block, and restore the handlers after it."""
        with handling(self._end, ENDING), handling(self._save, SAVING):
            yield

    def must_save(self) -> bool:
        """Tell once that a state was asked for."""
        must_save, self._must_save = self._must_save, False
        return must_save

    def _end(self, number: int, _: FrameType | None) -> None:
        if number == self.number == signal.SIGINT:
            raise Interrupted(number)
        if not self.number:
            self.number = number
            more = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            _say(f"{signal.Signals(number).name}: saving after this step{more}")

    def _save(self, number: int, _: FrameType | None) -> None:
        self._must_save = True
        _say(f"{signal.Signals(number).name}: saving after this step, and going on")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._request = pl_module.request(lambda: self.requested)
        # Lightning has put its own handler before ours; it would end the run without saving.
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, self._end)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        assert self._request is not None
        alone = pl_module.processes.world_size == 1 and self.requested
        if pl_module.stepped and (alone or self._request.agreed):
            # Another process may have got it.
            self.number = max(map(int, pl_module.processes.gather(str(int(self.number)))))
            trainer.should_stop = True


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
