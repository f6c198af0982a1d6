"""Forward and backward pass of one dialogue, by its length: time and memory per micro-turn.

A model whose attention slides pays the same for each micro-turn of a long dialogue as of a short
one. The lengths are measured in turns, so all of them see the same machine; the fastest round of
each counts.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from microturn.configs.load import load_config
from microturn.configs.reading import lines_of
from microturn.datagen.config import DatagenConfig
from microturn.evaluation.bench.config import BenchTrainingConfig
from microturn.evaluation.bench.gpu.trainee import VOCABULARY, random_lanes
from microturn.evaluation.bench.results import publish
from microturn.model.batch import LaneBatch
from microturn.model.losses import compute_losses
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout
from microturn.training.config import TrainingConfig
from microturn.training.start.memory import keep_freed_memory

MAX_SPREAD: Final = 0.15  # the dearest length over the cheapest, less one
_MICRO_TURNS: Final = 960  # a round passes a short dialogue so often that it has that many


def run_bench_lengths(config: BenchTrainingConfig) -> int:
    """Run the command with `lengths`; exit code 1 when a micro-turn's cost depends on them."""
    torch.set_num_threads(config.threads[0])
    torch.manual_seed(0)
    keep_freed_memory()  # as the trainer does
    cfg = load_config(TrainingConfig, [config.train], ["data=none", "out=none"])
    model = InteractionModel(cfg.model, _layout(config), VOCABULARY).train()
    dialogues = {str(n): random_lanes(model.layout, 1, n) for n in config.lengths}
    memory = {n: peak_growth_mb(model, dialogue) for n, dialogue in dialogues.items()}
    ms = dict.fromkeys(dialogues, float("inf"))
    for _ in range(config.steps):
        for n, dialogue in dialogues.items():
            ms[n] = min(ms[n], cpu_ms_per_micro_turn(model, dialogue))
    spread = max(ms.values()) / min(ms.values()) - 1
    result = {
        "ms_per_micro_turn": ms,
        "memory_mb": memory,
        "spread": spread,
        "goals": {"at_most": {"spread": MAX_SPREAD}},
        "reached": spread <= MAX_SPREAD,
        "train": config.train,
        "threads": config.threads[0],
        "rounds": config.steps,
    }
    publish(result, format_lengths(result), config)
    return 0 if result["reached"] else 1


def _layout(config: BenchTrainingConfig) -> StreamLayout:
    if config.data:
        return StreamLayout.load(Path(config.data) / "layout.json")
    return load_config(DatagenConfig, [config.simulate], ["out=none"]).layout


def _pass(model: InteractionModel, dialogue: LaneBatch) -> None:
    compute_losses(model, dialogue)["loss"].backward()


def _forget_gradients(parameters: Sequence[Tensor]) -> None:
    """As an optimiser does; `Module.zero_grad` looks for the parameters in the whole tree."""
    for parameter in parameters:
        parameter.grad = None


def cpu_ms_per_micro_turn(model: InteractionModel, dialogue: LaneBatch) -> float:
    """CPU time of forward and backward: other processes on the machine do not count."""
    n = dialogue.shape[1]
    passes = max(1, _MICRO_TURNS // n)
    parameters = list(model.parameters())
    start = time.process_time()
    for _ in range(passes):
        _pass(model, dialogue)
        _forget_gradients(parameters)
    return 1e3 * (time.process_time() - start) / (passes * n)


def peak_growth_mb(model: InteractionModel, dialogue: LaneBatch) -> float:
    """Memory that a pass takes at most, beyond what the process had; Linux alone tells."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)  # else a pass takes what the last one left
    clear.write_text("5", encoding="utf-8")  # the peak starts over
    before = kilobytes(status, "VmRSS")
    _pass(model, dialogue)
    _forget_gradients(list(model.parameters()))
    return (kilobytes(status, "VmHWM") - before) / 1e3


def kilobytes(status: Path, name: str) -> int:
    lines = lines_of(status.read_text(encoding="utf-8"))
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def format_lengths(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    lines = [
        f"{result['train']}, forward and backward of one dialogue, {result['threads']} threads, "
        f"best of {result['rounds']} rounds",
        f"{'micro-turns':>11} {'CPU ms/micro-turn':>18} {'MB':>7} {'kB/micro-turn':>14}",
    ]
    for n, ms in result["ms_per_micro_turn"].items():
        mb = result["memory_mb"][n]
        lines.append(f"{n:>11} {ms:>18.3f} {mb:>7.0f} {1e3 * mb / int(n):>14.0f}")
    lines.append(f"dearest over cheapest: {result['spread']:+.1%}, goal at most {MAX_SPREAD:+.0%}")
    return "\n".join(lines) + "\n"
