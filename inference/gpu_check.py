"""Time micro-turns of live sessions on a GPU: `python -m microturn.inference.gpu_check out=DIR`.

Random weights; a `small` model and a mixture of experts of 16 layers and width 1024. Whole
micro-turns (sound in, sound out) through `SessionBatch`; beside them the model's step alone, run
by the host and as a captured graph; kernel launches; first against last micro-turns.
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

from microturn.inference.session import SessionBatch
from microturn.kernels.measure import device_facts
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.model import InteractionModel, MicroTurnInput
from microturn.model.moe import MixtureOfExperts
from microturn.model.streams import StreamLayout, Tokenizer

SESSIONS: Final = (1, 4, 16, 64)
MODELS: Final = {
    "small": ModelConfig(
        d_model=512,
        n_layers=8,
        n_heads=8,
        d_ff=1408,
        moe=MoEConfig(n_experts=16, top_k=2, d_expert=512),
    ),
    "moe16": ModelConfig(
        d_model=1024,
        n_layers=16,
        n_heads=8,
        d_ff=2816,
        moe=MoEConfig(n_experts=64, top_k=4, d_expert=512),
    ),
}
LONG: Final = "small"  # the model of the long session
LONG_MICRO_TURNS: Final = 18_000
LONG_SECONDS: Final = 45.0  # a slower GPU or host plays less than the hour
MICRO_TURNS: Final = 40
WARM_UP: Final = 4
_LEVEL: Final = 0.05


def main(words: list[str]) -> int:
    options = dict(word.partition("=")[::2] for word in words)
    if set(options) - {"out"} or not options.get("out"):
        print("usage: python -m microturn.inference.gpu_check out=DIR", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("gpu_check needs a CUDA device; none was found", file=sys.stderr)
        return 1
    out = Path(options["out"])
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda")
    result: dict[str, Any] = {"facts": device_facts(device), "failures": []}
    for name, config in MODELS.items():
        checkpoint = random_model(config, device)
        for n in SESSIONS:
            key = f"{name} {n}"
            result[key] = _kept(result, key, partial(measure, checkpoint, n))
            (out / "sessions.json").write_text(json.dumps(result, indent=1))
            print(f"{key}: {result[key]}", file=sys.stderr, flush=True)
        if name == LONG:
            result["long"] = _kept(result, "long", partial(long_session, checkpoint))
        del checkpoint
        torch.cuda.empty_cache()
    (out / "sessions.json").write_text(json.dumps(result, indent=1))
    print(table(result))
    return 1 if result["failures"] else 0


def _kept(result: dict[str, Any], name: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # the other rows still tell something
        result["failures"].append(f"{name}: {type(error).__name__}: {error}"[:500])
        return {}


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
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.up.data = module.up.data.bfloat16()
            module.down.data = module.down.data.bfloat16()
    return LoadedCheckpoint(model.eval(), layout, tokenizer)


def measure(checkpoint: LoadedCheckpoint, n: int) -> dict[str, Any]:
    """Milliseconds of whole micro-turns and of the model's step alone."""
    batch = SessionBatch(checkpoint, n)
    rng = np.random.default_rng(0)
    times = []
    for step in range(-WARM_UP, MICRO_TURNS):
        took = append(batch, rng)
        if step >= 0:
            times.append(took)
    row: dict[str, Any] = {
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "launches": kernels_per_tick(batch, rng),
    }
    row.update(step_alone(checkpoint.model, n))
    row["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return row


def append(batch: SessionBatch, rng: np.random.Generator) -> float:
    """One micro-turn of all sessions; milliseconds."""
    samples = batch.layout.samples_per_micro_turn
    audio = (_LEVEL * rng.standard_normal((batch.batch_size, samples))).astype(np.float32)
    torch.cuda.synchronize()
    started = time.perf_counter()
    batch.append(audio)
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started)


def kernels_per_tick(batch: SessionBatch, rng: np.random.Generator) -> dict[str, float]:
    """Kernels that one micro-turn launches, and the GPU's share of its time."""
    from torch.profiler import ProfilerActivity, profile

    ticks = 3
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        took = sum(append(batch, rng) for _ in range(ticks))
    events = [e for e in trace.events() if e.device_type.name == "CUDA"]
    busy = sum(event.time_range.elapsed_us() for event in events) / 1000
    return {"kernels": len(events) / ticks, "gpu_ms": busy / ticks, "traced_ms": took / ticks}


def step_alone(model: InteractionModel, n: int) -> dict[str, float]:
    """The model's step without microphone and vocoder, by the host and as one captured graph."""
    layout, device = model.layout, model.unembed.weight.device
    frames = (n, layout.frames_per_micro_turn, layout.n_mels)
    inputs = MicroTurnInput(
        audio_in=torch.randint(16, frames, dtype=torch.uint8, device=device),
        late=torch.zeros(n, dtype=torch.bool, device=device),
        text_in=torch.zeros(n, layout.text_in_positions, dtype=torch.int64, device=device),
    )
    noise = torch.randn(n, layout.audio_out_positions, layout.patch_dim, device=device)
    with torch.inference_mode():
        state = model.init_state(n)

        def step() -> None:
            _, after = model.step(inputs, state, noise)
            state.backbone.seen.copy_(after.backbone.seen)
            state.patch.copy_(after.patch)

        row = {"step_ms": _median_ms(step)}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                step()
        except RuntimeError as error:
            print(f"no graph: {error}"[:300], file=sys.stderr)
            return row
        row["graph_ms"] = _median_ms(graph.replay)
    return row


def _median_ms(work: Callable[[], Any], repeats: int = 15) -> float:
    times = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[2:]))


def long_session(checkpoint: LoadedCheckpoint) -> dict[str, float]:
    """One session for an hour of micro-turns, or as many as fit into `LONG_SECONDS`.

    The first hundred counts from the moment when the window of attention is full.
    """
    batch = SessionBatch(checkpoint, 1)
    rng = np.random.default_rng(0)
    for _ in range(checkpoint.model.cfg.window):
        append(batch, rng)
    memory = torch.cuda.memory_allocated()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < LONG_MICRO_TURNS and time.perf_counter() - started < LONG_SECONDS:
        times.append(append(batch, rng))
    first, last = np.median(times[:100]), np.median(times[-100:])
    return {
        "micro_turns": len(times),
        "first_100_ms": float(first),
        "last_100_ms": float(last),
        "ratio": float(last / first),
        "memory_growth": torch.cuda.memory_allocated() / memory - 1,
    }


def table(result: dict[str, Any]) -> str:
    """What a person reads."""
    facts = result["facts"]
    lines = [
        f"{facts['device']}: copy {facts['stream_gb_s']:.0f} GB/s, "
        f"bf16 matmul {facts['matmul_tflop_s']:.0f} TFLOP/s; torch {facts['torch']}",
        "model sessions   p50 ms   p99 ms  step ms  graph ms  kernels  GPU ms  memory GB",
    ]
    for name in MODELS:
        for n in SESSIONS:
            row = result.get(f"{name} {n}") or {}
            launches = row.get("launches", {})
            cells = [row.get(key, float("nan")) for key in ("p50_ms", "p99_ms", "step_ms")]
            cells += [row.get("graph_ms", float("nan")), launches.get("kernels", float("nan"))]
            cells += [launches.get("gpu_ms", float("nan")), row.get("memory_gb", float("nan"))]
            lines.append(f"{name:<6}{n:>8}" + "".join(f"{cell:>9.1f}" for cell in cells))
    lines.append(f"long session of {LONG}: {result.get('long')}")
    lines += [f"FAILED {failure}" for failure in result["failures"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
