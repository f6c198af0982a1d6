"""Ends a run whose loss has blown up, before its states do."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, Final

import lightning as L
from lightning.pytorch.callbacks import Callback

from microturn.training import state
from microturn.training.module import TrainingModule

_MEAN_OF: Final = 5  # steps whose mean loss is compared
_OF_FIRST: Final = 2.0  # a loss below so many times that of the first step is no blow-up


class Divergence(Callback):
    """Raises ValueError where the mean loss of five steps is beyond a multiple of the lowest such
    mean, and beyond twice the loss of the first step, since this run started or resumed.

    States are not saved at intervals while a loss is half as far off (`is_good`), so that the last
    one is from before.
    """

    def __init__(self, multiple: float, out: Path) -> None:
        self.multiple, self.out = multiple, out
        self._losses: deque[float] = deque(maxlen=_MEAN_OF)
        self._limit = float("inf")
        self._lowest = float("inf")
        self._first: float | None = None

    def is_good(self) -> bool:
        """Whether the last loss, and the mean, are well below the limit."""
        return not self._losses or max(self._losses[-1], self._mean()) < 0.5 * self._limit

    def _mean(self) -> float:
        return sum(self._losses) / len(self._losses)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.stepped or not self.multiple:
            return
        self._losses.append(float(pl_module.metrics["loss/loss"]))
        mean = self._mean()
        self._first = mean if self._first is None else self._first
        self._lowest = min(self._lowest, mean)
        self._limit = max(self.multiple * self._lowest, _OF_FIRST * self._first)
        if len(self._losses) == _MEAN_OF and mean > self._limit:
            states = state.saved_states(self.out)
            last = f"the last state is {states[-1]}" if states else "no state was saved before it"
            raise ValueError(
                f"step {pl_module.steps}: the run diverges: the mean loss of {_MEAN_OF} steps is "
                f"{mean:.3g}, after {self._lowest:.3g} at its lowest; {last}: lower optim.lr or "
                "optim.muon_lr, or give divergence=0 to go on regardless"
            )
