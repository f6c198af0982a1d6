"""`microturn bench session`: how long a micro-turn takes with several conversations at once."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.load import save_config
from microturn.inference.config import BenchSessionConfig
from microturn.inference.load import LoadedBatch, batch_of
from microturn.model.checkpoint import load_checkpoint, random_checkpoint
from microturn.model.config import ModelConfig

_LEVEL: Final = 0.05  # noise at about the level of speech, so that nothing is trivially silent


def run(config: BenchSessionConfig) -> int:
    """The command: a row for each number of sessions; exit 1 above `limit_ms`."""
    if config.checkpoint:
        loaded = load_checkpoint(config.checkpoint)
    else:
        loaded = random_checkpoint(config.seed, config=ModelConfig())
    if config.threads:
        torch.set_num_threads(config.threads)
    rows: dict[str, dict[str, float]] = {}
    n_steps = len(config.sessions) * (config.warm_up + config.micro_turns)
    with tqdm(total=n_steps, desc="bench session", unit="micro-turn", file=sys.stderr) as bar:
        for n in config.sessions:
            batch = batch_of(loaded, n_slots=n, seed=config.seed)
            rows[str(n)] = measure(batch, n, config, bar)
    result = {
        "sessions": rows,
        "micro_turn_ms": loaded.layout.micro_turn_ms,
        "micro_turns": config.micro_turns,
        "checkpoint": config.checkpoint or "tiny, random weights",
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
    }
    sys.stdout.write(table(result) if config.json != "-" else "")
    write_json(result, config.json)
    if config.json not in ("", "-"):
        save_config(Path(config.json).with_suffix(".config.yaml"), config)
    first = rows[str(config.sessions[0])]["p99_ms"]
    if config.limit_ms and first > config.limit_ms:
        sys.stderr.write(
            f"p99 of {config.sessions[0]} session(s) is {first:.1f} ms, "
            f"above limit_ms={config.limit_ms:g}\n"
        )
        return 1
    return 0


def measure(loaded: LoadedBatch, n: int, config: BenchSessionConfig, bar: Any) -> dict[str, float]:
    """Times of whole micro-turns in milliseconds: sound in, sound and tokens out."""
    rng = np.random.default_rng(config.seed)
    times = np.zeros(config.micro_turns)
    for step in range(-config.warm_up, config.micro_turns):
        noise = rng.standard_normal((n, loaded.layout.samples_per_micro_turn))
        audio = (_LEVEL * noise).astype(np.float32)
        started = time.perf_counter()
        loaded.batch.append(audio, [None] * n)
        if step >= 0:
            times[step] = (time.perf_counter() - started) * 1000
        bar.update()
    return {
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": float(times.max()),
    }


def table(result: dict[str, Any]) -> str:
    """The numbers as a person reads them."""
    budget = result["micro_turn_ms"]
    lines = [
        f"{result['checkpoint']}; {result['threads']} threads; {result['micro_turns']} micro-turns",
        f"{'sessions':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  p99 of {budget} ms",
    ]
    for n, row in result["sessions"].items():
        p50, p99, worst = row["p50_ms"], row["p99_ms"], row["max_ms"]
        lines.append(f"{n:>8} {p50:>8.1f} {p99:>8.1f} {worst:>8.1f}  {p99 / budget:.0%}")
    return "\n".join(lines) + "\n"
