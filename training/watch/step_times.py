"""Where the seconds of a step go: reading data, forward, backward, optimiser."""

from __future__ import annotations

import time
from typing import Any, Final

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from microturn.training.fleet.place import HERE

PARTS: Final = ("data", "forward", "backward", "optimiser")


class StepTimes(Callback):
    """Adds up the seconds of each part of a step; the first callback, so that parts end in time.

    The wait for data begins where the last callback says so (`wait_for_data`): work of callbacks
    between two steps is in no part, nor is the wait for other ranks in a collective of the CPU. A
    GPU's work is timed there, by events that are read when `take` is called and not before; the
    wait for data is always the host's.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0  # for data, over all steps
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._others_s = 0.0  # wait for other ranks
        self._steps = 0
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._part = ""  # the one that goes on
        self._start_s = 0.0
        self._start_waited_s = 0.0
        self._start_event: torch.cuda.Event | None = None
        self._on_gpu = False

    def take(self) -> dict[str, float]:
        """Return `time/PART_s`, mean seconds per step since the last call.

        With other ranks also `time/others_s`, the wait for them in collectives of the CPU.
        """
        if self._events:
            self._events[-1][2].synchronize()
        for part, start, end in self._events:
            self._seconds[part] += start.elapsed_time(end) / 1e3
        self._events.clear()
        steps = max(1, self._steps)
        means = {f"time/{part}_s": seconds / steps for part, seconds in self._seconds.items()}
        if HERE.waited_s:
            means["time/others_s"] = self._others_s / steps
        self._seconds, self._steps, self._others_s = dict.fromkeys(PARTS, 0.0), 0, 0.0
        return means

    def wait_for_data(self) -> None:
        """Begin to wait for the next batch."""
        self._begin("data")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._on_gpu = pl_module.device.type == "cuda"

    def on_train_batch_start(self, *args: Any) -> None:
        self._begin("forward")

    def on_before_backward(self, *args: Any) -> None:
        self._begin("backward")

    def on_after_backward(self, *args: Any) -> None:
        self._end()

    def on_before_optimizer_step(self, *args: Any) -> None:
        self._steps += 1
        self._begin("optimiser")

    def on_train_batch_end(self, *args: Any) -> None:
        self._end()

    def _begin(self, part: str) -> None:
        self._end()
        self._part, self._start_s = part, time.perf_counter()
        self._start_waited_s = HERE.waited_s
        self._start_event = self._event() if part != "data" else None

    def _end(self) -> None:
        part, self._part = self._part, ""
        if not part:
            return
        others_s = HERE.waited_s - self._start_waited_s
        self._others_s += others_s
        self._seconds[part] -= others_s
        if self._start_event is not None:
            end = self._event()
            assert end is not None
            self._events.append((part, self._start_event, end))
            return
        seconds = time.perf_counter() - self._start_s
        self._seconds[part] += seconds
        self.waited_s += seconds - others_s if part == "data" else 0.0

    def _event(self) -> torch.cuda.Event | None:
        if not self._on_gpu:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
