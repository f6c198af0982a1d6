"""`microturn bench gpu-sessions`: micro-turns of live sessions on a GPU.

Random weights; the `small` model and a mixture of experts of 16 layers and width 1024. Whole
micro-turns (sound in, sound out) through `RowBatch`, as one captured graph and launched kernel by
kernel; equality of the two; kernels and the GPU's busy time; first against last micro-turns of a
long session. Figures go to OUT/sessions.json row by row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from microturn.evaluation.bench.config import BenchGpuSessionsConfig
from microturn.evaluation.bench.gpu.steps import (
    StepRecorder,
    device_line,
    gpu_activity,
    synchronise,
)
from microturn.evaluation.bench.kernels_measure import measure_device
from microturn.inference.load import shipped_model
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, experts_to_
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout, Tokenizer

LARGE: Final = ModelConfig(
    d_model=1024,
    n_layers=16,
    n_heads=8,
    d_ff=2816,
    moe=MoEConfig(n_experts=64, top_k=4, d_expert=512),
)
LONG_SECONDS: Final = 28.0  # for the long session, which is an hour at most
WARM_UP: Final = 3
COMPARED: Final = 6  # micro-turns whose words and sound are compared
_LEVEL: Final = 0.05
_COLUMNS: Final = (
    ("p50_ms", 9),
    ("p99_ms", 9),
    ("tick_ms", 9),
    ("eager_ms", 9),
    ("kernels", 9),
    ("gpu_ms", 8),
    ("build_s", 9),
    ("same", 6),
    ("memory_gb", 11),
)


@dataclass(frozen=True, kw_only=True)
class SessionSizes:
    """Models, numbers of sessions and micro-turns of each measurement."""

    models: dict[str, ModelConfig]
    sessions: tuple[int, ...]
    micro_turns: int
    eager_micro_turns: int
    long_micro_turns: int  # of one session of the first model


def session_sizes(*, smoke: bool) -> SessionSizes:
    if smoke:
        return SessionSizes(
            models={"tiny": shipped_model("model/tiny.yaml")},
            sessions=(1, 2),
            micro_turns=4,
            eager_micro_turns=2,
            long_micro_turns=8,
        )
    return SessionSizes(
        models={"small": shipped_model("model/small.yaml"), "moe16": LARGE},
        sessions=(1, 4, 16, 64),
        micro_turns=60,
        eager_micro_turns=8,
        long_micro_turns=18_000,
    )


def run_bench_gpu_sessions(config: BenchGpuSessionsConfig, device: torch.device) -> int:
    """Time the sessions; return 1 when a row fails."""
    sizes = session_sizes(smoke=config.smoke)
    recorder = StepRecorder(Path(config.out) / "sessions.json", max_s=config.max_s)
    recorder.run("device_info", lambda: measure_device(device))
    for number, (name, model) in enumerate(sizes.models.items()):
        checkpoint = random_model(model, device)
        for n in sizes.sessions:
            recorder.run_in_time(f"{name} {n}", partial(measure_sessions, checkpoint, n, sizes))
        if number == 0:
            recorder.run_in_time("long", partial(measure_long_session, checkpoint, sizes))
        del checkpoint
    table = format_gpu_sessions(recorder.figures, long_model=next(iter(sizes.models)))
    return recorder.finish(table)


def random_model(config: ModelConfig, device: torch.device) -> LoadedCheckpoint:
    """Draw a model on the device; on a GPU its experts are in bf16, the rest in fp32."""
    torch.manual_seed(0)
    layout = StreamLayout()
    tokenizer = Tokenizer.train(["one two three plus hello"] * 100, vocab_size=256)
    with device:
        model = InteractionModel(config, layout, len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    if device.type == "cuda":
        experts_to_(model, torch.bfloat16)
    return LoadedCheckpoint(model.eval(), layout, tokenizer)


def measure_sessions(checkpoint: LoadedCheckpoint, n: int, sizes: SessionSizes) -> dict[str, Any]:
    """Milliseconds of whole micro-turns, of the device's part alone, and without a graph."""
    row: dict[str, Any] = {}
    eager = RowBatch(checkpoint, n, graph=False, sizes=[n])
    device, rng = eager.device, np.random.default_rng(0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    expected = [step_all(eager, rng)[1] for _ in range(COMPARED)]
    eager_ms = [step_all(eager, rng)[0] for _ in range(sizes.eager_micro_turns)]
    row["eager_ms"] = float(np.median(eager_ms))
    del eager
    synchronise(device)
    started = time.perf_counter()
    batch, rng = RowBatch(checkpoint, n, sizes=[n]), np.random.default_rng(0)
    synchronise(device)
    row["build_s"] = time.perf_counter() - started
    row["same"] = all(are_same(step_all(batch, rng)[1], outputs) for outputs in expected)
    times = [step_all(batch, rng)[0] for _ in range(sizes.micro_turns)]
    row["p50_ms"] = float(np.percentile(times, 50))
    row["p99_ms"] = float(np.percentile(times, 99))
    row["tick_ms"] = _median_ms(batch.tick.run, device)
    if device.type == "cuda":
        row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        row |= gpu_activity(lambda: step_all(batch, rng), repeats=2)
    return row


def are_same(a: list[MicroTurnOut], b: list[MicroTurnOut]) -> bool:
    """Compare words and, bit for bit, sound."""
    return all(
        x.heard == y.heard and x.say == y.say and np.array_equal(x.audio, y.audio)
        for x, y in zip(a, b, strict=True)
    )


def step_all(batch: RowBatch, rng: np.random.Generator) -> tuple[float, list[MicroTurnOut]]:
    """Step all sessions by one micro-turn; return the milliseconds and the outputs."""
    samples = batch.layout.samples_per_micro_turn
    audio = (_LEVEL * rng.standard_normal((batch.n_rows, samples))).astype(np.float32)
    started = time.perf_counter()
    inputs = {row: MicroTurnIn(audio=row_audio) for row, row_audio in enumerate(audio)}
    outputs = list(batch.step_rows(inputs).values())  # waits for the device
    return 1000 * (time.perf_counter() - started), outputs


def _median_ms(work: Callable[[], Any], device: torch.device, repeats: int = 15) -> float:
    times = []
    for _ in range(repeats + WARM_UP):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[WARM_UP:]))


def measure_long_session(checkpoint: LoadedCheckpoint, sizes: SessionSizes) -> dict[str, Any]:
    """One session of an hour, or of the micro-turns that fit into `LONG_SECONDS`.

    The first hundred counts from the moment when the window of attention is full.
    """
    batch = RowBatch(checkpoint, 1)
    rng = np.random.default_rng(0)
    for _ in range(checkpoint.model.cfg.window):
        step_all(batch, rng)
    on_gpu = batch.device.type == "cuda"
    memory = torch.cuda.memory_allocated() if on_gpu else 0
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < sizes.long_micro_turns and time.perf_counter() - started < LONG_SECONDS:
        times.append(step_all(batch, rng)[0])
    first, last = np.median(times[:100]), np.median(times[-100:])
    return {
        "micro_turns": len(times),
        "first_100_ms": float(first),
        "last_100_ms": float(last),
        "ratio": float(last / first),
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": max(times),
        "memory_growth": torch.cuda.memory_allocated() / memory - 1 if on_gpu else None,
    }


def format_gpu_sessions(figures: dict[str, Any], *, long_model: str) -> str:
    """Format the figures as a text table."""
    heads = "".join(f"{name:>{width}}" for name, width in _COLUMNS)
    lines = [device_line(figures.get("device_info", {})), "model sessions" + heads]
    for key, row in figures.items():
        if isinstance(row, dict) and "eager_ms" in row:
            name, n = key.split()
            cells = (_cell(row.get(column), width) for column, width in _COLUMNS)
            lines.append(f"{name:<6}{n:>8}" + "".join(cells))
    lines.append("tick: the device's part; eager: without a graph; gpu: busy; same: graph = eager")
    lines.append(f"long session of {long_model}: {figures.get('long')}")
    return "\n".join(lines)


def _cell(value: bool | float | None, width: int) -> str:
    text = "-" if value is None else str(value) if isinstance(value, bool) else f"{value:.1f}"
    return f"{text:>{width}}"
