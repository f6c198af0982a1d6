"""Logs of a run: numbers by name, as CSV or for TensorBoard."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from microturn.configs.files import replacing
from microturn.training.module import TrainingModule
from microturn.training.watch.expert_loads import DeadExperts
from microturn.training.watch.slow_ranks import SlowRanks
from microturn.training.watch.step_times import StepTimes


class Log(Protocol):
    """A place for numbers, step by step."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class CsvLog:
    """`metrics.csv`: one line per step that is logged, a column per name, sorted.

    Lines after `step`, where a resumed run continues, are removed: the log of a run that was
    killed reads like that of one that was not. A name that appears later adds a column.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.rows = path, _rows_until(path, step)
        if path.is_file():
            self._rewrite()  # now: later lines are appended

    def write(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": str(step)} | {name: f"{value:.5g}" for name, value in values.items()}
        known = _columns(self.rows)
        self.rows.append(row)
        if not self.path.exists() or known != _columns(self.rows):
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, known).writerow(row)

    def _rewrite(self) -> None:
        with (
            replacing(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, _columns(self.rows))
            writer.writeheader()
            writer.writerows(self.rows)

    def close(self) -> None:
        if self.rows:
            self._rewrite()


class TensorBoardLog:
    """Event files for TensorBoard, which hides lines after `step` of a run that resumes there."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise ValueError(
                "log=tensorboard needs the package tensorboardX; install 'microturn[training]', "
                "or choose log=csv"
            ) from error
        self.writer: Any = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


def open_logs(kind: str, folder: Path, *, step: int) -> list[Log]:
    """Open the logs of `log=` for a run that starts or resumes at `step`."""
    logs: list[Log] = []
    if kind in ("csv", "both"):
        logs.append(CsvLog(folder / "metrics.csv", step))
    if kind in ("tensorboard", "both"):
        logs.append(TensorBoardLog(folder, step))
    return logs


class Logging(Callback):
    """Logs every few steps: all losses, norm of the gradient, rate, loads of experts, seconds.

    Losses are those of the whole step, over all devices; loads by lane and seconds are those of
    the first device. Dead experts and slow ranks are named on stderr.
    """

    def __init__(self, kind: str, folder: Path, *, every_steps: int, times: StepTimes) -> None:
        self.kind, self.folder, self.every_steps = kind, folder, every_steps
        self.times, self._dead, self._slow = times, DeadExperts(), SlowRanks()
        self.logs: list[Log] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if trainer.is_global_zero:
            self.logs = open_logs(self.kind, self.folder, step=pl_module.steps)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.stepped:
            return
        self._dead.add(pl_module.loads)
        if pl_module.steps % self.every_steps:
            return
        metrics = pl_module.metrics | pl_module.lane_loads()
        values = {name: float(value) for name, value in metrics.items()}
        times = self.times.take()
        values |= {"seconds": pl_module.trained_seconds, **times}
        slow = ""
        if pl_module.processes.world_size > 1:
            parts = pl_module.processes.gather(self._slow.own_part(times))
            ranks, slow = self._slow.compare(parts)
            values |= ranks
        for log in self.logs:
            log.write(pl_module.steps, values)
        dead = self._dead.take()
        for text in (f"hardly used: {dead}" if dead else "", slow):
            if text and trainer.is_global_zero:
                tqdm.write(f"training: step {pl_module.steps}: {text}", file=sys.stderr)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for log in self.logs:
            log.close()


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    # A line that a kill cut short lacks columns.
    complete = [row for row in rows if None not in row.values() and row["step"].isdecimal()]
    return [row for row in complete if int(row["step"]) <= step]


def _columns(rows: list[dict[str, str]]) -> list[str]:
    names = {name for row in rows for name in row}
    return ["step", *sorted(names - {"step"})]
