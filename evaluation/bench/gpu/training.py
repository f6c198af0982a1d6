"""`microturn bench gpu-training`: training steps on a GPU.

`small` and `base` in bf16: steps on one packed batch of random lanes, with blocks compiled too;
attention over a window beside a mask of all pairs; where a shard set is given, runs of
`microturn train` as they are, vocoder included, and one resume. Figures go to OUT/training.json
step by step.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from lightning.pytorch.callbacks import Callback

from microturn.configs.load import load_config
from microturn.evaluation.bench.config import BenchGpuTrainingConfig
from microturn.evaluation.bench.gpu.steps import (
    GpuTrace,
    StepRecorder,
    device_line,
    gpu_activity,
)
from microturn.evaluation.bench.gpu.trainee import VOCABULARY, Trainee, random_lanes
from microturn.evaluation.bench.gpu.windows import MICRO_TURNS as LENGTHS
from microturn.evaluation.bench.gpu.windows import measure_windows
from microturn.evaluation.bench.kernels_measure import measure_device
from microturn.inference.load import shipped_model
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout
from microturn.training.config import TrainingConfig
from microturn.training.flops import flops_per_micro_turn
from microturn.training.parallel import compile_blocks

MICRO_TURNS: Final = 80
WARM_UP: Final = 3
STEPS: Final = 8
RESUME_STEPS: Final = 6


@dataclass(frozen=True, kw_only=True)
class TimedModel:
    """A model that is trained, and how: its dialogues per step and the steps of `train`."""

    name: str
    cfg: TrainingConfig
    sizes: tuple[int, ...]  # the last one is that of compiled steps and of `train`
    run_steps: int
    run_warm_up: int  # of these, not measured
    eager_run: bool = True  # `train` without compiled blocks, too

    @property
    def size(self) -> int:
        return self.sizes[-1]


def timed_models(cfg: TrainingConfig, *, smoke: bool) -> list[TimedModel]:
    """The models in order of worth; `cfg` gives all but their sizes."""
    if smoke:
        return [TimedModel(name="smoke", cfg=cfg, sizes=(2,), run_steps=4, run_warm_up=1)]
    base = replace(cfg, model=shipped_model("model/base.yaml"), batch_size=16)
    return [
        TimedModel(name="small", cfg=cfg, sizes=(16, 32), run_steps=80, run_warm_up=15),
        TimedModel(
            name="base", cfg=base, sizes=(16,), run_steps=25, run_warm_up=8, eager_run=False
        ),
    ]


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
        cfg = load_config(TrainingConfig, [name], words)
        self.models = timed_models(cfg, smoke=self.smoke)
        self.layout = (
            StreamLayout.load(Path(self.data) / "layout.json") if self.data else StreamLayout()
        )

    def run(self) -> None:
        self.recorder.run("device_info", lambda: measure_device(self.device))
        step = self.recorder.run_in_time
        for model in self.models:
            name = model.name
            self.recorder.run(f"{name} model", partial(self.sizes, model))
            for size in model.sizes:
                step(f"{name} {size}", partial(self.synthetic, model, size))
            if not self.smoke:
                step(
                    f"{name} {model.size} compiled",
                    partial(self.synthetic, model, model.size, compiled=True),
                )
            if self.data:
                if not self.smoke:
                    step(f"{name} train compiled", partial(self.trained, model, compiled=True))
                if model.eager_run:
                    step(f"{name} train", partial(self.trained, model))
        first = self.models[0].cfg
        lengths = (12,) if self.smoke else LENGTHS
        positions = self.layout.n_positions
        step("windows", lambda: measure_windows(first.model, positions, self.device, lengths))
        if self.device.type == "cpu":  # a GPU's profiler counts better
            step("operations", self.operations)
        if self.data:
            step("resume", partial(self.resume, first))

    def sizes(self, model: TimedModel) -> dict[str, Any]:
        with torch.device("meta"):
            shape = InteractionModel(model.cfg.model, self.layout, VOCABULARY)
        sizes = shape.describe()
        return {
            "parameters_total": sizes["parameters_total"],
            "parameters_active": sizes["parameters_active"],
            "gflop_per_micro_turn": flops_per_micro_turn(shape, MICRO_TURNS) / 1e9,
            "positions": self.layout.n_positions,
            "micro_turns": MICRO_TURNS,
        }

    def synthetic(
        self, model: TimedModel, size: int, *, compiled: bool = False
    ) -> dict[str, float]:
        """Steps on one batch of random lanes on the device; the vocoder learns nothing."""
        trainee = Trainee(model.cfg, self.layout, self.device)
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
        row = {"first_step_s": first_s, **self._rates(model, size, n, median(took))}
        row.update({f"{name}_ms": 1e3 * median(p[name] for p in parts) for name in parts[0]})
        if self.device.type == "cuda":
            row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            torch.cuda.reset_peak_memory_stats()
            row.update(gpu_activity(lambda: trainee.step(batch)))
        return row

    def _rates(self, model: TimedModel, B: int, N: int, seconds: float) -> dict[str, float]:
        known = self.recorder.figures
        gflop = known[f"{model.name} model"]["gflop_per_micro_turn"]
        rate = B * N * gflop * 1e9 / seconds
        return {
            "step_ms": 1e3 * seconds,
            "positions_per_s": B * N * self.layout.n_positions / seconds,
            "real_time": self.layout.duration_s(B * N) / seconds,
            "tflop_s": rate / 1e12,
            "utilisation": rate / 1e12 / known["device_info"]["matmul_tflop_s"],
        }

    def trained(self, model: TimedModel, *, compiled: bool = False) -> dict[str, float]:
        """`microturn train` for some steps: loader, learned vocoder, Lightning, log."""
        from microturn.training.train import train

        on_gpu = self.device.type == "cuda"
        clock = StepClock(profiled=model.run_steps if on_gpu else None)
        n_steps = model.run_steps + on_gpu
        with tempfile.TemporaryDirectory() as out:
            run = replace(model.cfg, out=out, max_steps=n_steps, checkpoint_minutes=0.0)
            began = time.perf_counter()
            train(replace(run, compile=compiled), watch=clock)
        last = model.run_steps
        starts, ends = (
            clock.starts[model.run_warm_up : last],
            clock.ends[model.run_warm_up - 1 : last],
        )
        waits = [start - end for start, end in zip(starts, ends, strict=False)]
        took = [b - a for a, b in zip(ends, ends[1:], strict=False)]
        return {
            **self._rates(model, model.cfg.batch_size, MICRO_TURNS, median(took)),
            "mean_step_ms": 1e3 * sum(took) / len(took),
            "workers": model.cfg.loader_workers,
            "steps": len(took),
            "data_wait": sum(waits) / sum(took),
            "first_step_s": clock.ends[0] - began,
            **clock.activity,
        }

    def operations(self) -> dict[str, Any]:
        """Count the operations of a step of `small` by part, as a GPU would compute it."""
        from microturn.evaluation.bench.gpu.launches import count_launches  # imports kernels

        words = ["data=none", f"out={self.out / 'run'}"]
        return count_launches(
            load_config(TrainingConfig, ["training/small.yaml"], words), StreamLayout()
        )

    def resume(self, cfg: TrainingConfig) -> dict[str, float]:
        """`microturn train` for a few steps, and for a few more from its last state."""
        from microturn.training import state
        from microturn.training.train import train

        steps, seconds = [], []
        for half in (1, 2):
            before = time.perf_counter()
            workers = min(2, cfg.loader_workers)
            run = replace(cfg, max_steps=half * RESUME_STEPS, loader_workers=workers)
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
    """Seconds at which the steps of a run began and ended, and what a GPU did in one of them."""

    def __init__(self, *, profiled: int | None = None) -> None:
        """profiled: the step, counted from 0, that the profiler watches, which slows it."""
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.activity: dict[str, float] = {}
        self._profiled, self._trace = profiled, GpuTrace()

    def on_train_batch_start(self, *args: Any) -> None:
        if len(self.starts) == self._profiled:
            self._trace.start()
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends.append(time.perf_counter())
        if len(self.ends) - 1 == self._profiled:
            self.activity = self._trace.stop()


def format_gpu_training(figures: dict[str, Any]) -> str:
    """Format the figures as a text table."""
    lines = [device_line(figures.get("device_info", {}))]
    for name, row in figures.items():
        if name.endswith(" model"):
            lines.append(
                f"{name}: {row['parameters_total'] / 1e6:.1f} M parameters "
                f"({row['parameters_active'] / 1e6:.1f} M active), "
                f"{row['gflop_per_micro_turn']:.2f} GFLOP per micro-turn, bf16"
            )
    lines.append(
        "what                  step ms  forward  backward  optim  GPU busy  kernels  positions/s  "
        "x real time  TFLOP/s  share of matmul  GB"
    )
    for name, row in figures.items():
        if isinstance(row, dict) and "step_ms" in row:
            parts = ("forward_ms", "backward_ms", "optimizer_ms", "gpu_ms", "kernels")
            a, b, c, busy, kernels = (row.get(part, float("nan")) for part in parts)
            lines.append(
                f"{name:<21}{row['step_ms']:>9.1f}{a:>9.1f}{b:>10.1f}{c:>7.1f}{busy:>10.1f}"
                f"{kernels:>9.0f}{row['positions_per_s']:>13,.0f}{row['real_time']:>13,.0f}"
                f"{row['tflop_s']:>9.1f}{row['utilisation']:>17.1%}{row.get('memory_gb', 0):>4.0f}"
            )
            if "data_wait" in row:
                lines.append(
                    f"{name}: {row['workers']} workers, {row['steps']} steps, "
                    f"{row['data_wait']:.1%} of the time waiting for data, first step after "
                    f"{row['first_step_s']:.1f} s"
                )
    for n, row in figures.get("windows", {}).items():
        lines.append(
            f"attention of {n} micro-turns: {row['window_ms']:.2f} ms over a window, "
            f"{row['all_pairs_ms']:.2f} ms under a mask of all pairs"
        )
    if "operations" in figures:
        lines += _operations(figures["operations"])
    if "resume" in figures:
        lines.append(f"resume: {figures['resume']}")
    return "\n".join(lines)


def _operations(figures: dict[str, Any]) -> list[str]:
    """Rows of what `count_launches` found, and the lines of code that wait for the GPU."""
    lines = [f"{'operations of small':<22}{'forward':>9}{'backward':>9}"]
    for name, part in figures["parts"].items():
        lines.append(f"{name:<22}{part['forward']:>9}{part['backward']:>9}")
    lines.append(f"{'all':<22}{figures['total']:>18}")
    return lines + [f"waits for the GPU: {line}, {n}x" for line, n in figures["waits"].items()]
