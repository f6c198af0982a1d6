"""The watch over the ranks as callbacks of a run: the first one, and the last one."""

from __future__ import annotations

from pathlib import Path
from signal import Signals
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback

from microturn.configs.main import FAILED
from microturn.configs.reading import lines_of
from microturn.configs.signals import code_of, number_of
from microturn.training.config import TrainingConfig
from microturn.training.fleet.children import children_of
from microturn.training.fleet.meeting import meet
from microturn.training.fleet.place import BACKWARD, BETWEEN, DATA, FORWARD, HERE, OPTIMISER
from microturn.training.fleet.watch import RankWatch, speaks_of_first
from microturn.training.module import TrainingModule
from microturn.training.process_group import ProcessGroup
from microturn.training.state import saved_states

_TRANSPORTS = ("gloo", "nccl")  # in what torch says of broken collectives


class WatchRanks(Callback):
    """Watches the ranks from their meeting to the end of the run; the first callback.

    limit_s: silence or standstill that ends the run, 0: no watch. out: the run folder.
    """

    def __init__(self, limit_s: float, out: Path) -> None:
        self.limit_s, self.out = limit_s, out
        self.watch: RankWatch | None = None

    def meet(self, cfg: TrainingConfig, cluster: ClusterEnvironment | None, *, gpu: bool) -> None:
        """Meet the ranks that a launcher has started; those that the command starts meet in fit.

        The watch begins before they connect, so that one that is lost meanwhile is noticed.
        """
        there = meet(cfg, cluster)
        if there is None:
            return
        if self.limit_s:
            self.watch = RankWatch(
                there.round.store,
                rank=there.rank,
                world_size=there.world_size,
                limit_s=self.limit_s,
                speaks=speaks_of_first(there.local_rank, there.node_rank),
                goes_on=self._goes_on,
                members=there.round.members,
            )
            self.watch.start()
        try:
            there.connect(gpu=gpu)
        except RuntimeError as error:
            self.report(error)
            raise OSError(
                f"rank {there.rank} met the others and cannot connect to them "
                f"({_first_line(error)[:200]}); look at what they say"
            ) from error

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and self.watch is None and self.limit_s:
            self.watch = RankWatch(
                dist.distributed_c10d._get_default_store(),
                rank=dist.get_rank(),
                world_size=dist.get_world_size(),
                limit_s=self.limit_s,
                speaks=speaks_of_first(trainer.local_rank, trainer.node_rank),
                goes_on=self._goes_on,
                children=children_of(trainer),
            )
            self.watch.start()

    def _goes_on(self) -> str:
        states = saved_states(self.out)
        last = f"from {states[-1]}" if states else "from the start; no state was saved"
        return f"the same command goes on {last}"

    def leave(self) -> None:
        """End the watch; a collective, since the store may end with the first rank."""
        if self.watch is not None:
            ProcessGroup().any(False)
            self.watch.leave()
            self.watch = None

    def report(self, error: BaseException) -> None:
        """Tell the other ranks why this one ends; where they cut it off, end as the watch says."""
        watch, self.watch = self.watch, None
        if watch is None:
            return
        if _is_cut_off(error):
            watch.cut_off(_first_line(error))
        elif isinstance(error, KeyboardInterrupt):
            number = number_of(error)
            watch.fail(f"stopped by {Signals(number).name}", code_of(number))
        else:
            watch.fail(sentence_of(error), FAILED)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.leave()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.report(exception)

    # --- marks -------------------------------------------------------------------------------
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        _mark(FORWARD, pl_module)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        _mark(BACKWARD, pl_module)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        _mark(OPTIMISER, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        HERE.first_step = HERE.first_step and not pl_module.stepped
        _mark(BETWEEN, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _mark(BETWEEN, pl_module)


class WaitForData(Callback):
    """The mark after the work of all callbacks; the last callback."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        _mark(DATA, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _mark(DATA, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _mark(BETWEEN, pl_module)


def _mark(label: str, module: L.LightningModule) -> None:
    assert isinstance(module, TrainingModule)
    HERE.at(label, step=module.steps)


def sentence_of(error: BaseException) -> str:
    """Say in one line what a rank met."""
    if isinstance(error, ValueError | OSError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {_first_line(error)}"


def _is_cut_off(error: BaseException) -> bool:
    """Whether a collective failed because another rank is gone, and not for a fault of this one."""
    said = str(error).lower()
    of_collective = isinstance(error, RuntimeError) and any(name in said for name in _TRANSPORTS)
    return isinstance(error, dist.DistError) or of_collective


def _first_line(error: BaseException) -> str:
    return next(iter(lines_of(str(error).strip())), "")
