"""Times micro-turns of live sessions on a GPU.

Random weights; the `small` model and a mixture of experts of 16 layers and width 1024. Whole
micro-turns (sound in, sound out) through `RowBatch`, as one captured graph and launched
kernel by kernel; whether both say the same; kernels and the GPU's busy time; first against last
micro-turns of a long session. What does not fit into SECONDS is left out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from microturn.evaluation.bench.kernels_measure import device_facts
from microturn.inference.load import shipped_model
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, experts_to_
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout, Tokenizer

SESSIONS: Final = (1, 4, 16, 64)
LARGE: Final = ModelConfig(
    d_model=1024,
    n_layers=16,
    n_heads=8,
    d_ff=2816,
    moe=MoEConfig(n_experts=64, top_k=4, d_expert=512),
)
LONG: Final = "small"  # the model of the long session
LONG_MICRO_TURNS: Final = 18_000
LONG_SECONDS: Final = 28.0  # what is played by then counts, the hour at most
MICRO_TURNS: Final = 60
EAGER_MICRO_TURNS: Final = 8
COMPARED: Final = 6
WARM_UP: Final = 3
SECONDS: Final = 120.0
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


def models() -> dict[str, ModelConfig]:
    return {"small": shipped_model("model/small.yaml"), "moe16": LARGE}


def main(words: list[str]) -> int:
    options = dict(word.partition("=")[::2] for word in words)
    if set(options) - {"out"} or not options.get("out"):
        print("usage: python -m microturn.evaluation.bench.gpu_sessions out=DIR", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("gpu_check needs a CUDA device; none was found", file=sys.stderr)
        return 1
    out = Path(options["out"])
    out.mkdir(parents=True, exist_ok=True)
    device, started = torch.device("cuda"), time.perf_counter()
    result: dict[str, Any] = {"facts": device_facts(device), "failures": [], "left_out": []}
    for name, config in models().items():
        checkpoint = random_model(config, device)
        rows: dict[str, Callable[[dict[str, Any]], None]] = {
            f"{name} {n}": partial(measure, checkpoint, n) for n in SESSIONS
        }
        if name == LONG:
            rows["long"] = partial(long_session, checkpoint)
        for key, work in rows.items():
            if time.perf_counter() - started > SECONDS:
                result["left_out"].append(key)
                continue
            result[key] = {}
            try:
                work(result[key])
            except Exception as error:  # the other rows still tell something
                result["failures"].append(f"{key}: {type(error).__name__}: {error}"[:500])
            (out / "sessions.json").write_text(json.dumps(result, indent=1))
            took = time.perf_counter() - started
            print(f"sessions {key} ({took:.0f} s): {result[key]}", file=sys.stderr, flush=True)
        del checkpoint, rows, work
        torch.cuda.empty_cache()
    (out / "sessions.json").write_text(json.dumps(result, indent=1))
    print(table(result))
    return 1 if result["failures"] else 0


def random_model(config: ModelConfig, device: torch.device) -> LoadedCheckpoint:
    """Drawn on the device; experts in bf16, the rest in fp32."""
    torch.manual_seed(0)
    layout = StreamLayout()
    tokenizer = Tokenizer.train(["one two three plus hello"] * 100, vocab_size=256)
    with device:
        model = InteractionModel(config, layout, len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    experts_to_(model, torch.bfloat16)
    return LoadedCheckpoint(model.eval(), layout, tokenizer)


def measure(checkpoint: LoadedCheckpoint, n: int, row: dict[str, Any]) -> None:
    """Milliseconds of whole micro-turns, of the device's part alone, and without a graph."""
    torch.cuda.reset_peak_memory_stats()
    eager = RowBatch(checkpoint, n, graph=False, sizes=[n])
    rng = np.random.default_rng(0)
    said = [append(eager, rng)[1] for _ in range(COMPARED)]
    row["eager_ms"] = float(np.median([append(eager, rng)[0] for _ in range(EAGER_MICRO_TURNS)]))
    del eager
    torch.cuda.synchronize()
    began = time.perf_counter()
    batch, rng = RowBatch(checkpoint, n, sizes=[n]), np.random.default_rng(0)
    torch.cuda.synchronize()
    row["build_s"] = time.perf_counter() - began
    row["same"] = all(same(append(batch, rng)[1], turn) for turn in said)
    times = [append(batch, rng)[0] for _ in range(MICRO_TURNS)]
    row["p50_ms"] = float(np.percentile(times, 50))
    row["p99_ms"] = float(np.percentile(times, 99))
    row["tick_ms"] = _median_ms(batch.tick.run)
    row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    row.update(kernels_per_tick(batch, rng))


def same(a: list[MicroTurnOut], b: list[MicroTurnOut]) -> bool:
    """Words and, bit for bit, sound."""
    return all(
        x.heard == y.heard and x.say == y.say and np.array_equal(x.audio, y.audio)
        for x, y in zip(a, b, strict=True)
    )


def append(batch: RowBatch, rng: np.random.Generator) -> tuple[float, list[MicroTurnOut]]:
    """One micro-turn of all sessions: milliseconds, and what was made."""
    samples = batch.layout.samples_per_micro_turn
    audio = (_LEVEL * rng.standard_normal((batch.n_rows, samples))).astype(np.float32)
    started = time.perf_counter()
    inputs = {row: MicroTurnIn(audio=row_audio) for row, row_audio in enumerate(audio)}
    outputs = list(batch.step_rows(inputs).values())  # waits for the device
    return 1000 * (time.perf_counter() - started), outputs


def kernels_per_tick(batch: RowBatch, rng: np.random.Generator) -> dict[str, float]:
    """Kernels and copies of one micro-turn, and for how long the GPU is busy with them."""
    from torch.profiler import ProfilerActivity, profile

    ticks = 2
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        for _ in range(ticks):
            append(batch, rng)
    events = [e for e in trace.events() if e.device_type.name == "CUDA"]
    busy = sum(event.time_range.elapsed_us() for event in events) / 1000
    return {"kernels": len(events) / ticks, "gpu_ms": busy / ticks}


def _median_ms(work: Callable[[], Any], repeats: int = 15) -> float:
    times = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[2:]))


def long_session(checkpoint: LoadedCheckpoint, row: dict[str, Any]) -> None:
    """One session for an hour of micro-turns, or as many as fit into `LONG_SECONDS`.

    The first hundred counts from the moment when the window of attention is full.
    """
    batch = RowBatch(checkpoint, 1)
    rng = np.random.default_rng(0)
    for _ in range(checkpoint.model.cfg.window):
        append(batch, rng)
    memory = torch.cuda.memory_allocated()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < LONG_MICRO_TURNS and time.perf_counter() - started < LONG_SECONDS:
        times.append(append(batch, rng)[0])
    first, last = np.median(times[:100]), np.median(times[-100:])
    row.update(
        micro_turns=len(times),
        first_100_ms=float(first),
        last_100_ms=float(last),
        ratio=float(last / first),
        p50_ms=float(np.percentile(times, 50)),
        p99_ms=float(np.percentile(times, 99)),
        max_ms=max(times),
        memory_growth=torch.cuda.memory_allocated() / memory - 1,
    )


def table(result: dict[str, Any]) -> str:
    """What a person reads."""
    facts = result["facts"]
    lines = [
        f"{facts['device']}: copy {facts['stream_gb_s']:.0f} GB/s, "
        f"bf16 matmul {facts['matmul_tflop_s']:.0f} TFLOP/s; torch {facts['torch']}",
        "model sessions" + "".join(f"{name:>{width}}" for name, width in _COLUMNS),
    ]
    for key, row in result.items():
        if isinstance(row, dict) and "eager_ms" in row:
            name, n = key.split()
            values = [row.get(column, float("nan")) for column, _ in _COLUMNS]
            cells = [str(v) if isinstance(v, bool) else f"{v:.1f}" for v in values]
            widths = [width for _, width in _COLUMNS]
            lines.append(
                f"{name:<6}{n:>8}"
                + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
            )
    lines.append("tick: the device's part; eager: without a graph; gpu: busy; same: graph = eager")
    lines.append(f"long session of {LONG}: {result.get('long')}")
    lines += [f"left out: {key}" for key in result["left_out"]]
    lines += [f"FAILED {failure}" for failure in result["failures"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
