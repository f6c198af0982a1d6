"""`microturn bench plan`: what `microturn plan` says of a training step beside what one takes.

Memory: how far a process grows beyond one that has trained a very small model. Time: CPU seconds
of a step, and the rate of a large product between every two steps, from which the plan's time
follows; both see the same machine.
"""

from __future__ import annotations

import ctypes
import gc
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from microturn.configs.load import load_config
from microturn.evaluation.bench.config import BenchPlanConfig
from microturn.evaluation.bench.results import publish
from microturn.evaluation.bench.training_data import shard_set
from microturn.evaluation.bench.training_lengths import kilobytes
from microturn.model.plan.config import Machine, PlanConfig
from microturn.model.plan.plan import plan
from microturn.training.config import TrainingConfig
from microturn.training.sources import Source, open_source
from microturn.training.train import train

MAX_ERROR: Final = 0.15  # of estimates, goal
_SIZE: Final = 1024  # of the product, as `training/flops.py` measures it
_PRODUCTS: Final = 3
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class StepWatch(Callback):
    """Times steps and products in turns."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.steps: list[float] = []
        self.rates: list[float] = []
        self._matrix, self._result = torch.randn(_SIZE, _SIZE), torch.empty(_SIZE, _SIZE)
        self._start_s = 0.0

    def on_train_start(self, *args: Any) -> None:
        self._start_s = time.process_time()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        if not getattr(pl_module, "stepped", True):
            return
        step_s = time.process_time() - self._start_s
        self.warm_up -= 1
        if self.warm_up < 0:
            self.steps.append(step_s)
            self.rates.append(self._rate())
        self._start_s = time.process_time()

    @torch.no_grad()
    def _rate(self) -> float:
        start = time.process_time()
        for _ in range(_PRODUCTS):
            torch.mm(self._matrix, self._matrix, out=self._result)
        return _PRODUCTS * 2 * _SIZE**3 / (time.process_time() - start)


def run_bench_plan(config: BenchPlanConfig) -> int:
    """Run the command; exit code 1 where an estimate is further off than the goal."""
    rows = {}
    with shard_set(config.data, config.simulate, config.n_dialogues) as data:
        measure("training/smoke.yaml", data, warm_up=1, steps=1)  # libraries, caches, threads
        for run in config.runs:
            rows[run] = measure(run, data, warm_up=config.warm_up, steps=config.steps)
    errors = [abs(row[f"{kind}_ratio"] - 1) for row in rows.values() for kind in ("memory", "time")]
    result = {
        "runs": rows,
        "goals": {"at_most": {"error": MAX_ERROR}},
        "reached": max(errors) <= MAX_ERROR,
        "steps": config.steps,
    }
    publish(result, format_plan(result), config)
    return 0 if result["reached"] else 1


def measure(run: str, data: str, *, warm_up: int, steps: int) -> dict[str, float]:
    """Measure and plan one run; MB are 10^6 bytes."""
    files = [word for word in run.split() if "=" not in word]
    words = [word for word in run.split() if "=" in word]
    words += [f"data={data}", "accelerator=cpu", "threads=1", "loader_workers=0", "compile=false"]
    words += ["checkpoint_minutes=0", f"max_steps={warm_up + steps}"]
    with tempfile.TemporaryDirectory() as out:
        cfg = load_config(TrainingConfig, files, [*words, f"out={out}"])
        watch = StepWatch(warm_up)
        before = _start_of_peak()
        train(cfg, watch=watch)
        memory = kilobytes(_STATUS, "VmHWM") * 1024 - before
    planned = plan(planned_run(cfg, open_source(data), rate=median(watch.rates)))
    ratios = [
        plan(planned_run(cfg, open_source(data), rate=rate))["step"]["seconds"] / step
        for rate, step in zip(watch.rates, watch.steps, strict=True)
    ]
    return {
        "memory_mb": memory / 1e6,
        "planned_memory_mb": planned["memory_per_gpu"]["peak"] / 1e6,
        "memory_ratio": planned["memory_per_gpu"]["peak"] / memory,
        "step_s": median(watch.steps),
        "planned_step_s": planned["step"]["seconds"],
        "time_ratio": median(ratios),
        "matmul_gflop_per_s": median(watch.rates) / 1e9,
    }


def planned_run(cfg: TrainingConfig, source: Source, *, rate: float) -> PlanConfig:
    """Make the plan's configuration of a run on one thread with this rate, FLOP/s."""
    return PlanConfig(
        machine=Machine(tflops=rate / 1e12),
        accelerator="cpu",
        precision="bf16" if cfg.precision == "bf16" else "32",
        activation_checkpointing=cfg.activation_checkpointing,
        batch_size=cfg.batch_size,
        accumulate=cfg.accumulate,
        micro_turns=source.n_micro_turns,
        vocab_size=len(source.tokenizer),
        layout=source.layout,
        model=cfg.model,
    )


def _start_of_peak() -> int:
    """Give free memory back, let the peak start over and return the bytes of the process."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text("5", encoding="utf-8")
    return kilobytes(_STATUS, "VmRSS") * 1024


def format_plan(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    lines = [
        f"one thread, CPU time, median of {result['steps']} steps in turns with products",
        f"{'MB':>7} {'planned':>8} {'ratio':>6} {'s/step':>8} {'planned':>8} {'ratio':>6} "
        f"{'GFLOP/s':>8}  run",
    ]
    for run, row in result["runs"].items():
        lines.append(
            f"{row['memory_mb']:>7,.0f} {row['planned_memory_mb']:>8,.0f} "
            f"{row['memory_ratio']:>6.2f} {row['step_s']:>8.3f} {row['planned_step_s']:>8.3f} "
            f"{row['time_ratio']:>6.2f} {row['matmul_gflop_per_s']:>8.1f}  {run}"
        )
    lines.append(f"goal: planned over measured within {MAX_ERROR:.0%}")
    return "\n".join(lines) + "\n"
