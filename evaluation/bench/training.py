"""`microturn bench training`: the share of matrix products in a training step.

The loop of `microturn train` is timed from its last callback: data, model, optimiser, log,
progress bar. Between two steps a replay of the same matrix products runs (matmul_replay.py), so
both see the same machine. Rates are products over time; their ratio is that of the times.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import lightning as L
from lightning.pytorch.callbacks import Callback

from microturn.configs.load import load_config
from microturn.evaluation.bench.config import BenchTrainingConfig
from microturn.evaluation.bench.matmul_replay import MatmulReplay, ProductRecorder
from microturn.evaluation.bench.results import publish
from microturn.evaluation.bench.training_data import shard_set
from microturn.training.config import TrainingConfig
from microturn.training.train import train

AT_LEAST: Final = {"ratio": 0.6}
AT_MOST: Final = {"data_wait": 0.02}


@dataclass(frozen=True)
class Moment:
    """Wall clock and CPU clock of this process with all its threads, in seconds."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: Moment) -> Moment:
        return Moment(self.wall - other.wall, self.cpu - other.cpu)


class Watch(Callback):
    """Records the products of one step, then times steps and replays in turns."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.steps: list[Moment] = []
        self.waits: list[Moment] = []
        self.replays: list[Moment] = []
        self.flops = self.model_flops = 0
        self._recorder = ProductRecorder()
        self._replay: MatmulReplay | None = None
        self._start = self._fetched = Moment.now()

    def on_train_batch_start(self, *args: Any) -> None:
        self._fetched = Moment.now()
        self.warm_up -= 1
        if not self.warm_up:
            self._recorder.__enter__()  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(self, *args: Any) -> None:
        if not self.warm_up:
            self.model_flops = sum(product.flops for product in self._recorder.products)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        end = Moment.now()
        if not self.warm_up:
            self._recorder.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            products = self._recorder.products
            self.flops = sum(product.flops for product in products)
            self._replay = MatmulReplay(products)
            self._replay()
        if self._replay and self.warm_up < 0:
            self.steps.append(end - self._start)
            self.waits.append(self._fetched - self._start)
            start = Moment.now()
            self._replay()
            self.replays.append(Moment.now() - start)
        self._start = Moment.now()

    def row(self, batch_size: int) -> dict[str, float]:
        """Medians over the measured steps."""
        pairs = list(zip(self.steps, self.replays, strict=True))
        step, replay = median(s.wall for s in self.steps), median(r.wall for r in self.replays)
        ratio = median(r.wall / s.wall for s, r in pairs)
        return {
            "ratio": ratio,
            "ratio_cpu": median(r.cpu / s.cpu for s, r in pairs),
            "ratio_without_optimiser": ratio * self.model_flops / self.flops,
            "step_gflops": self.flops / step / 1e9,
            "replay_gflops": self.flops / replay / 1e9,
            "data_wait": sum(w.wall for w in self.waits) / sum(s.wall for s in self.steps),
            "seconds_per_step": step,
            "cpu_seconds_per_step": median(s.cpu for s in self.steps),
            "dialogues_per_second": batch_size / step,
            "gflop_per_step": self.flops / 1e9,
            "gflop_of_optimiser": (self.flops - self.model_flops) / 1e9,
        }


def run_bench_training(config: BenchTrainingConfig) -> int:
    """Run the command; exit code 1 when a row misses a goal."""
    rows = {}
    with shard_set(config.data, config.simulate, config.n_dialogues) as data:
        for threads in config.threads:
            with tempfile.TemporaryDirectory() as out:
                rows[str(threads)] = measure(config, data, out, threads)
    reached = all(
        all(row[name] >= goal for name, goal in AT_LEAST.items())
        and all(row[name] <= goal for name, goal in AT_MOST.items())
        for row in rows.values()
    )
    result = {
        "threads": rows,
        "goals": {"at_least": AT_LEAST, "at_most": AT_MOST},
        "reached": reached,
        "train": config.train,
        "steps": config.steps,
    }
    publish(result, format_training(result), config)
    return 0 if reached else 1


def measure(config: BenchTrainingConfig, data: str, out: str, threads: int) -> dict[str, float]:
    """Measure one row: a short training run with a watch on it."""
    words = [f"data={data}", f"out={out}", f"threads={threads}", "accelerator=cpu"]
    words += ["max_minutes=0", f"max_steps={config.warm_up + config.steps}"]
    cfg = load_config(TrainingConfig, [config.train], words)
    watch = Watch(config.warm_up)
    train(cfg, watch=watch)
    return watch.row(cfg.batch_size)


def format_training(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    goals = {**result["goals"]["at_least"], **result["goals"]["at_most"]}
    lines = [
        f"{result['train']}, median of {result['steps']} steps, in turns with replays",
        f"{'threads':>8} {'s/step':>8} {'GFLOP':>8} {'step GF/s':>10} {'replay GF/s':>11} "
        f"{'ratio':>7} {'of CPU':>7} {'model only':>11} {'data wait':>10}",
    ]
    for threads, row in result["threads"].items():
        lines.append(
            f"{threads:>8} {row['seconds_per_step']:>8.3f} {row['gflop_per_step']:>8.1f} "
            f"{row['step_gflops']:>10.1f} {row['replay_gflops']:>11.1f} {row['ratio']:>7.1%} "
            f"{row['ratio_cpu']:>7.1%} {row['ratio_without_optimiser']:>11.1%} "
            f"{row['data_wait']:>10.2%}"
        )
    lines.append(f"goals: ratio at least {goals['ratio']:.0%}, data wait at most 2 %")
    return "\n".join(lines) + "\n"
