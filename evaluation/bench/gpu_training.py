"""Times training on a GPU.

`small` in bf16: steps on one packed batch of random lanes, with blocks compiled too; where a shard
set is given, runs of `microturn train` as they are, vocoder included, and one resume. `smoke=true`
runs everything very small, on a CPU too.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from microturn.configs.load import load_config
from microturn.evaluation.bench.kernels_measure import device_facts
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import describe
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


def main(words: list[str]) -> int:
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    if set(options) - {"out", "data", "smoke"} or not options.get("out"):
        print(
            "usage: gpu_training out=DIR [data=SHARDS] [smoke=true]",
            file=sys.stderr,
        )
        return 2
    smoke = options.get("smoke", "false") != "false"
    if not smoke and not torch.cuda.is_available():
        print("gpu_check needs a CUDA device; none was found", file=sys.stderr)
        return 1
    check = Check(Path(options["out"]), options.get("data", ""), smoke=smoke)
    check.run()
    print(table(check.result))
    return 1 if check.result["failures"] else 0


class Check:
    """Runs part by part; every finished part is on disk."""

    def __init__(self, out: Path, data: str, *, smoke: bool) -> None:
        self.out, self.data, self.smoke = out, data, smoke
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        words = [f"data={data or 'none'}", f"out={out / 'run'}"]
        name = "training/smoke.yaml" if smoke else "training/small.yaml"
        self.cfg = load_config(TrainingConfig, [name], words)
        self.layout = StreamLayout.load(Path(data) / "layout.json") if data else StreamLayout()
        self.result: dict[str, Any] = {"failures": []}
        out.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        self._part("facts", lambda: device_facts(self.device))
        self._part("model", self.sizes)
        sizes = (2,) if self.smoke else SIZES
        for size in sizes:
            self._part(f"batch {size}", lambda size=size: self.synthetic(size))
        if not self.smoke:
            self._part("compiled", lambda: self.synthetic(sizes[-1], compiled=True))
        if self.data:
            self._part("train", self.trained)
            self._part("resume", self.resume)
            if not self.smoke:
                self._part("train, compiled", lambda: self.trained(compiled=True))

    def _part(self, name: str, work: Any) -> None:
        before = time.perf_counter()
        try:
            self.result[name] = work()
        except Exception as error:  # the other parts still tell something
            self.result["failures"].append(f"{name}: {type(error).__name__}: {error}"[:600])
        print(f"training {name}: {time.perf_counter() - before:.1f} s", file=sys.stderr, flush=True)
        (self.out / "training.json").write_text(json.dumps(self.result, indent=1))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def sizes(self) -> dict[str, Any]:
        self._shape = InteractionModel(self.cfg.model, self.layout, VOCABULARY)
        sizes = describe(self._shape)
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
                first = time.perf_counter() - began
            if step >= WARM_UP:
                took.append(sum(times.values()))
                parts.append(times)
        row = {"first_step_s": first, **self._rates(size, n, median(took))}
        row.update({f"{name}_ms": 1e3 * median(p[name] for p in parts) for name in parts[0]})
        if self.device.type == "cuda":
            row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            torch.cuda.reset_peak_memory_stats()
            row.update(kernels_of(lambda: trainee.step(batch)))
        return row

    def _rates(self, B: int, N: int, seconds: float) -> dict[str, float]:
        flops = B * N * flops_per_micro_turn(self._shape, N)
        peak = self.result["facts"]["matmul_tflop_s"] * 1e12
        return {
            "step_ms": 1e3 * seconds,
            "positions_per_s": B * N * self.layout.n_positions / seconds,
            "real_time": B * N * self.layout.micro_turn_ms / 1e3 / seconds,
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
        """`microturn train` for a few steps, and for a few more from what it left."""
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
        for path in state.saved_states(self.out / "run"):  # large, and told already
            path.unlink()
        (self.out / "run" / "checkpoint" / "model.safetensors").unlink()
        return {"first_s": seconds[0], "resumed_s": seconds[1], "step": steps[1]}


class StepClock(Callback):
    """When the steps of a run began and ended, in seconds."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends.append(time.perf_counter())


class Trainee:
    """What `microturn train` does in one step, with a clock around each third of it."""

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
            group["lr"] = group["peak"] * rate(self.steps, 0.0, self.cfg.optim)
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
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def kernels_of(work: Callable[[], object]) -> dict[str, float]:
    """Kernels that it launches, and for how long the GPU is busy with them."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        work()
        torch.cuda.synchronize()
    on_gpu = [e for e in trace.events() if e.device_type.name == "CUDA"]
    events = [e for e in on_gpu if not e.is_user_annotation]  # the optimiser's span is no kernel
    busy = sum(event.time_range.elapsed_us() for event in events) / 1000
    return {"kernels": len(events), "gpu_ms": busy}


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


def table(result: dict[str, Any]) -> str:
    """What a person reads."""
    facts, model = result.get("facts", {}), result.get("model", {})
    lines = [
        f"{facts.get('device')}: copy {facts.get('stream_gb_s', 0):.0f} GB/s, "
        f"matmul {facts.get('matmul_tflop_s', 0):.1f} TFLOP/s; torch {facts.get('torch')}",
        f"training: {model.get('parameters_total', 0) / 1e6:.1f} M parameters "
        f"({model.get('parameters_active', 0) / 1e6:.1f} M active), "
        f"{model.get('gflop_per_micro_turn', 0):.2f} GFLOP per micro-turn, bf16",
        "what             step ms  forward  backward  optim  GPU busy  kernels  positions/s  "
        "x real time  TFLOP/s  share of matmul  GB",
    ]
    for name, row in result.items():
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
    if "resume" in result:
        lines.append(f"resume: {result['resume']}")
    lines += [f"FAILED {failure}" for failure in result["failures"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
