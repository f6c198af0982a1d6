"""`microturn bench gpu-training`: training steps on a GPU.

`small` in bf16: steps on one packed batch of random lanes, with blocks compiled too; where a shard
set is given, runs of `microturn train` as they are, vocoder included, and one resume. Figures go to
OUT/training.json step by step.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from microturn.configs.load import load_config
from microturn.evaluation.bench.config import BenchGpuTrainingConfig
from microturn.evaluation.bench.gpu_steps import (
    StepRecorder,
    device_line,
    gpu_activity,
    synchronise,
)
from microturn.evaluation.bench.kernels_measure import measure_device
from microturn.model.batch import LaneBatch
from microturn.model.losses import compute_losses
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.streams import LaneSpec, StreamLayout
from microturn.training.config import TrainingConfig
from microturn.training.flops import flops_per_micro_turn
from microturn.training.optim import build_optimizer, rate
from microturn.training.parallel import compile_blocks

MICRO_TURNS: Final = 80
SIZES: Final = (16, 32)  # dialogues per step
VOCABULARY: Final = 1024
WARM_UP: Final = 3
STEPS: Final = 8
RUN_STEPS: Final = 80  # of `microturn train`, the first RUN_WARM_UP of them not measured
RUN_WARM_UP: Final = 15
RESUME_STEPS: Final = 6


def run_bench_gpu_training(config: BenchGpuTrainingConfig, device: torch.device) -> int:
    """Time training; return 1 when a step fails."""
    recorder = StepRecorder(Path(config.out) / "training.json", max_s=config.max_s)
    TrainingBench(config, device, recorder).run()
    return recorder.finish(format_gpu_training(recorder.figures))


class TrainingBench:
    """The steps of the bench; each returns its figures."""

    def __init__(
        self, config: BenchGpuTrainingConfig, device: torch.device, recorder: StepRecorder
    ) -> None:
        self.out, self.data, self.smoke = Path(config.out), config.data, config.smoke
        self.device, self.recorder = device, recorder
        words = [f"data={self.data or 'none'}", f"out={self.out / 'run'}"]
        name = "training/smoke.yaml" if self.smoke else "training/small.yaml"
        self.cfg = load_config(TrainingConfig, [name], words)
        data = Path(self.data)
        self.layout = StreamLayout.load(data / "layout.json") if self.data else StreamLayout()

    def run(self) -> None:
        self.recorder.run("device_info", lambda: measure_device(self.device))
        self.recorder.run("model", self.sizes)
        step = self.recorder.run_in_time
        sizes = (2,) if self.smoke else SIZES
        for size in sizes:
            step(f"batch {size}", partial(self.synthetic, size))
        if not self.smoke:
            step("compiled", lambda: self.synthetic(sizes[-1], compiled=True))
        if self.data:
            step("train", self.trained)
            step("resume", self.resume)
            if not self.smoke:
                step("train, compiled", lambda: self.trained(compiled=True))

    def sizes(self) -> dict[str, Any]:
        self._shape = InteractionModel(self.cfg.model, self.layout, VOCABULARY)
        sizes = self._shape.describe()
        flops = flops_per_micro_turn(self._shape, MICRO_TURNS)
        return {
            "parameters_total": sizes["parameters_total"],
            "parameters_active": sizes["parameters_active"],
            "gflop_per_micro_turn": flops / 1e9,
            "positions": self.layout.n_positions,
            "micro_turns": MICRO_TURNS,
        }

    def synthetic(self, size: int, *, compiled: bool = False) -> dict[str, float]:
        """Steps on one batch of random lanes on the device; the vocoder learns nothing."""
        trainee = Trainee(self.cfg, self.layout, self.device)
        if compiled:
            compile_blocks(trainee.model)
        n = 12 if self.smoke else MICRO_TURNS
        batch = random_lanes(self.layout, size, n).to(self.device)
        took, parts = [], []
        began = time.perf_counter()
        for step in range(WARM_UP + STEPS):
            times = trainee.step(batch)
            if step == 0:
                first_s = time.perf_counter() - began
            if step >= WARM_UP:
                took.append(sum(times.values()))
                parts.append(times)
        row = {"first_step_s": first_s, **self._rates(size, n, median(took))}
        row.update({f"{name}_ms": 1e3 * median(p[name] for p in parts) for name in parts[0]})
        if self.device.type == "cuda":
            row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            torch.cuda.reset_peak_memory_stats()
            row.update(gpu_activity(lambda: trainee.step(batch)))
        return row

    def _rates(self, B: int, N: int, seconds: float) -> dict[str, float]:
        flops = B * N * flops_per_micro_turn(self._shape, N)
        peak = self.recorder.figures["device_info"]["matmul_tflop_s"] * 1e12
        return {
            "step_ms": 1e3 * seconds,
            "positions_per_s": B * N * self.layout.n_positions / seconds,
            "real_time": self.layout.duration_s(B * N) / seconds,
            "tflop_s": flops / seconds / 1e12,
            "utilisation": flops / seconds / peak,
        }

    def trained(self, *, compiled: bool = False) -> dict[str, float]:
        """`microturn train` for some steps: loader, learned vocoder, Lightning, log."""
        from microturn.training.train import train

        clock = StepClock()
        n_steps = 4 if self.smoke else RUN_STEPS
        warm_up = 1 if self.smoke else RUN_WARM_UP
        with tempfile.TemporaryDirectory() as out:
            run = replace(self.cfg, out=out, max_steps=n_steps, checkpoint_minutes=0.0)
            began = time.perf_counter()
            train(replace(run, compile=compiled), watch=clock)
        starts, ends = clock.starts[warm_up:], clock.ends[warm_up - 1 :]
        waits = [start - end for start, end in zip(starts, ends, strict=False)]
        took = [b - a for a, b in zip(ends, ends[1:], strict=False)]
        return {
            **self._rates(self.cfg.batch_size, MICRO_TURNS, median(took)),
            "mean_step_ms": 1e3 * sum(took) / len(took),
            "workers": self.cfg.loader_workers,
            "steps": len(took),
            "data_wait": sum(waits) / sum(took),
            "first_step_s": clock.ends[0] - began,
        }

    def resume(self) -> dict[str, float]:
        """`microturn train` for a few steps, and for a few more from its last state."""
        from microturn.training import state
        from microturn.training.train import train

        steps, seconds = [], []
        for half in (1, 2):
            before = time.perf_counter()
            workers = min(2, self.cfg.loader_workers)
            run = replace(self.cfg, max_steps=half * RESUME_STEPS, loader_workers=workers)
            train(replace(run, compile=False))
            seconds.append(time.perf_counter() - before)
            steps.append(state.load(state.saved_states(self.out / "run")[-1]).step)
        if steps != [RESUME_STEPS, 2 * RESUME_STEPS]:
            raise ValueError(f"steps after the first and the resumed run: {steps}")
        for path in state.saved_states(self.out / "run"):  # large, and measured already
            path.unlink()
        (self.out / "run" / "checkpoint" / "model.safetensors").unlink()
        return {"first_s": seconds[0], "resumed_s": seconds[1], "step": steps[1]}


class StepClock(Callback):
    """Seconds at which the steps of a run began and ended."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends.append(time.perf_counter())


class Trainee:
    """One step of `microturn train`, with a clock around each third of it."""

    def __init__(self, cfg: TrainingConfig, layout: StreamLayout, device: torch.device) -> None:
        torch.manual_seed(0)
        self.cfg, self.device = cfg, device
        with device:
            self.model = InteractionModel(cfg.model, layout, VOCABULARY).train()
        self.optimizer = build_optimizer(self.model, cfg.optim)
        self.routers = [m for m in self.model.modules() if isinstance(m, MixtureOfExperts)]
        self.steps = 0

    def step(self, batch: LaneBatch) -> dict[str, float]:
        marks = [self._now()]
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * rate(self.steps, 0.0, self.cfg.optim)
        half = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            loss = compute_losses(self.model, batch)["loss"]
        marks.append(self._now())
        loss.backward()
        marks.append(self._now())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optim.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for router in self.routers:
            router.update_bias_()
        self.steps += 1
        marks.append(self._now())
        if not torch.isfinite(loss):
            raise ValueError(f"step {self.steps}: the loss is not finite")
        names = ("forward", "backward", "optimizer")
        return {n: b - a for n, a, b in zip(names, marks[:-1], marks[1:], strict=True)}

    def _now(self) -> float:
        synchronise(self.device)
        return time.perf_counter()


def random_lanes(layout: StreamLayout, B: int, N: int) -> LaneBatch:
    """Lanes of B dialogues with every weight one."""
    g = torch.Generator().manual_seed(0)
    ends = {"frames": 256, "dmel": 16, "tokens": VOCABULARY, "mel": 256}

    def lane(spec: LaneSpec) -> Tensor:
        dtype = torch.int64 if spec.kind == "tokens" else torch.uint8
        return torch.randint(0, ends[spec.kind], (B, N, *spec.shape), generator=g, dtype=dtype)

    return LaneBatch(
        lanes={spec.name: lane(spec) for spec in layout.lane_specs},
        weights={spec.name: torch.ones(B, N, spec.positions) for spec in layout.made_lanes},
        missing_input=torch.rand(B, N, generator=g) < 0.01,
    )


def format_gpu_training(figures: dict[str, Any]) -> str:
    """Format the figures as a text table."""
    model = figures.get("model", {})
    lines = [
        device_line(figures.get("device_info", {})),
        f"training: {model.get('parameters_total', 0) / 1e6:.1f} M parameters "
        f"({model.get('parameters_active', 0) / 1e6:.1f} M active), "
        f"{model.get('gflop_per_micro_turn', 0):.2f} GFLOP per micro-turn, bf16",
        "what             step ms  forward  backward  optim  GPU busy  kernels  positions/s  "
        "x real time  TFLOP/s  share of matmul  GB",
    ]
    for name, row in figures.items():
        if isinstance(row, dict) and "step_ms" in row:
            parts = ("forward_ms", "backward_ms", "optimizer_ms", "gpu_ms", "kernels")
            a, b, c, busy, kernels = (row.get(part, float("nan")) for part in parts)
            lines.append(
                f"{name:<15}{row['step_ms']:>9.1f}{a:>9.1f}{b:>10.1f}{c:>7.1f}{busy:>10.1f}"
                f"{kernels:>9.0f}{row['positions_per_s']:>13,.0f}{row['real_time']:>13,.0f}"
                f"{row['tflop_s']:>9.1f}{row['utilisation']:>17.1%}{row.get('memory_gb', 0):>4.0f}"
            )
            if "data_wait" in row:
                lines.append(
                    f"{name}: {row['workers']} workers, {row['steps']} steps, "
                    f"{row['data_wait']:.1%} of the time waiting for data, first step after "
                    f"{row['first_step_s']:.1f} s"
                )
    if "resume" in figures:
        lines.append(f"resume: {figures['resume']}")
    return "\n".join(lines)
