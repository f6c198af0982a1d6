"""Ranks that the command starts itself (`devices=N` without a launcher), and their loss."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import lightning as L
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from microturn.configs.main import FAILED, RANK_LOST
from microturn.training.fleet.beat import Verdict

POLL_S: Final = 0.5
SPEAK_S: Final = 10.0  # for a child that failed to say so itself


class ChildLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher of processes, with our observer.

    Lightning's own kills all ranks, this one too, where a child dies, and nobody says why.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_watched = False  # from the meeting of the ranks on, by them
        self._first_rank = 0
        self._ended_s: dict[int, float] = {}

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._first_rank = self.cluster_environment.node_rank() * self.num_processes
            self._call_children_scripts()
            threading.Thread(target=self._observe, daemon=True, name="children").start()
        try:
            return function(*args, **kwargs)
        except BaseException:
            self.end()
            raise

    def lost(self) -> Verdict | None:
        """Name a child that a signal ended; one that failed has time to say so itself."""
        now_s = time.monotonic()
        for index, child in enumerate(self.procs):
            code = child.poll()
            if not code:
                continue
            ended_s = now_s - self._ended_s.setdefault(index, now_s)
            if code < 0 or ended_s > SPEAK_S:
                rank = self._first_rank + index + 1
                how = (
                    f"was ended by {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with {code}"
                )
                return Verdict(
                    text=f"rank {rank} (process {child.pid}) {how}",
                    code=RANK_LOST if code < 0 else FAILED,
                    ranks=(rank,),
                )
        return None

    def end(self) -> None:
        """Give children a moment to end by themselves, and kill those that cannot."""
        end_s = time.monotonic() + SPEAK_S
        while any(child.poll() is None for child in self.procs) and time.monotonic() < end_s:
            time.sleep(POLL_S)
        for child in self.procs:
            if child.poll() is None:
                child.kill()

    def _observe(self) -> None:
        """Watch children until the ranks have met."""
        while not self.is_watched:
            lost = self.lost()
            if lost is not None and not self.is_watched:
                print(f"microturn train: {lost.text} before the ranks had met", file=sys.stderr)
                for child in self.procs:
                    child.kill()
                sys.stderr.flush()
                os._exit(lost.code)
            time.sleep(POLL_S)


def launch_with_observer(trainer: L.Trainer) -> None:
    """Put our launcher in place of Lightning's, where the command starts the ranks itself."""
    strategy = trainer.strategy
    former = strategy.launcher
    if type(former) is _SubprocessScriptLauncher:
        environment, n_here, n_nodes = (
            former.cluster_environment,
            former.num_processes,
            former.num_nodes,
        )
        strategy._launcher = ChildLauncher(environment, n_here, n_nodes)


def children_of(trainer: L.Trainer) -> ChildLauncher | None:
    """Return the launcher whose children this process watches, if it has any."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, ChildLauncher) and launcher.procs:
        launcher.is_watched = True
        return launcher
    return None
