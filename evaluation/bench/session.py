"""`microturn bench session`: how long a micro-turn takes, with several at once and after an hour.

Beside it, in the same run, what the same weights take without a session engine (`bench_peers.py`).
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from microturn.configs.reading import lines_of
from microturn.evaluation.bench.config import BenchSessionConfig
from microturn.evaluation.bench.results import publish
from microturn.evaluation.bench.session_peers import PEERS, PeerTimes, measure_peer
from microturn.inference.load import shipped_model
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, load_checkpoint, random_checkpoint

_LEVEL: Final = 0.05  # noise at about the level of speech, so that nothing is trivially silent
_COMPARED: Final = 100  # first and last micro-turns of the long conversation
_HOUR: Final = 18_000
# How the time of a micro-turn grows with the dialogue: attention of one position over all of it
# is linear, reading all of it again quadratic.
_DEGREES: Final = {"growing": 1, "reprefill": 2}


def run_bench_session(config: BenchSessionConfig) -> int:
    """The command: a row for each number of sessions; exit 1 above `limit_ms`."""
    if config.checkpoint:
        loaded = load_checkpoint(config.checkpoint)
    else:
        loaded = random_checkpoint(config.seed, config=shipped_model("model/tiny.yaml"))
    if config.threads:
        torch.set_num_threads(config.threads)
    result = {
        "sessions": _sessions(loaded, config),
        "hour": _hour(loaded, config) if config.hour else None,
        **(_peers(loaded, config) if config.lengths else {}),
        "micro_turn_ms": loaded.layout.micro_turn_ms,
        "micro_turns": config.micro_turns,
        "checkpoint": config.checkpoint or "tiny, random weights",
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
    }
    if config.lengths:
        result["ratios"] = _ratios(result, config)
    publish(result, format_session(result), config)
    first = result["sessions"][str(config.sessions[0])]["p99_ms"]
    if config.limit_ms and first > config.limit_ms:
        sys.stderr.write(
            f"p99 of {config.sessions[0]} session(s) is {first:.1f} ms, "
            f"above limit_ms={config.limit_ms:g}\n"
        )
        return 1
    return 0


# --- our sessions ----------------------------------------------------------------------------
def _sessions(loaded: LoadedCheckpoint, config: BenchSessionConfig) -> dict[str, Any]:
    rows = {}
    n_steps = len(config.sessions) * (config.warm_up + config.micro_turns)
    with tqdm(total=n_steps, desc="bench session", unit="micro-turn", file=sys.stderr) as bar:
        for n in config.sessions:
            batch = RowBatch(loaded, n, seed=config.seed)
            rows[str(n)] = measure(batch, n, config, bar)
    return rows


def measure(batch: RowBatch, n: int, config: BenchSessionConfig, bar: Any) -> dict[str, float]:
    """Times of whole micro-turns in milliseconds: sound in, sound and tokens out."""
    rng = np.random.default_rng(config.seed)
    times = np.zeros(config.micro_turns)
    for step in range(-config.warm_up, config.micro_turns):
        spent = _micro_turn(batch, n, rng)
        if step >= 0:
            times[step] = spent
        bar.update()
    return {
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": float(times.max()),
    }


def _micro_turn(batch: RowBatch, n: int, rng: np.random.Generator) -> float:
    """Milliseconds of one."""
    noise = rng.standard_normal((n, batch.layout.samples_per_micro_turn))
    audio = (_LEVEL * noise).astype(np.float32)
    started = time.perf_counter()
    batch.step_rows({row: MicroTurnIn(audio=audio[row]) for row in range(n)})
    return (time.perf_counter() - started) * 1000


def _hour(loaded: LoadedCheckpoint, config: BenchSessionConfig) -> dict[str, float]:
    """One conversation of many micro-turns as fast as it goes.

    The first hundred counts from the moment when every layer's window is full. A machine may be
    slower an hour later: the last hundred stands beside a young conversation, in turns with it,
    too. Memory is that of the process after the first hundred, and at the end.
    """
    batch, rng = RowBatch(loaded, 1, seed=config.seed), np.random.default_rng(config.seed)
    full = max(loaded.model.backbone.reaches) // loaded.layout.n_positions + config.warm_up
    times, resident = np.zeros(config.hour), 0
    young, young_times = RowBatch(loaded, 1, seed=config.seed), np.zeros(_COMPARED)
    total = full + config.hour + full + _COMPARED
    with tqdm(total=total, desc="bench hour", unit="micro-turn", file=sys.stderr) as bar:

        def micro_turn(rows: RowBatch) -> float:
            bar.update()
            return _micro_turn(rows, 1, rng)

        for _ in range(full):
            micro_turn(batch)
        for step in range(config.hour - _COMPARED):
            times[step] = micro_turn(batch)
            if step == _COMPARED - 1:
                resident = resident_bytes()
        for _ in range(full):
            micro_turn(young)
        for step in range(_COMPARED):
            times[step - _COMPARED] = micro_turn(batch)
            young_times[step] = micro_turn(young)
    first, last = np.median(times[:_COMPARED]), np.median(times[-_COMPARED:])
    return {
        "micro_turns": config.hour,
        "first_ms": float(first),
        "last_ms": float(last),
        "last_over_first": float(last / first),
        "young_ms": float(np.median(young_times)),
        "last_over_young": float(last / np.median(young_times)),
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": float(times.max()),
        "rss_bytes": resident,
        "rss_growth": resident_bytes() / resident - 1,
    }


def resident_bytes() -> int:
    """Memory of this process that is in RAM; where /proc is missing, the most it ever was."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            line
            for line in lines_of(status.read_text(encoding="utf-8"))
            if line.startswith("VmRSS:")
        )
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- without sessions ------------------------------------------------------------------------
def _peers(loaded: LoadedCheckpoint, config: BenchSessionConfig) -> dict[str, Any]:
    """Milliseconds by length of the dialogue, and what follows for an hour."""
    found: dict[str, PeerTimes] = {}
    total = len(PEERS) * len(config.lengths)
    with tqdm(total=total, desc="bench without sessions", unit="length", file=sys.stderr) as bar:
        for peer in PEERS:
            found[peer] = measure_peer(loaded, peer, config.lengths, seconds=config.peer_s, bar=bar)
    measured = {
        peer: {str(length): ms for length, ms in times.ms.items()} for peer, times in found.items()
    }
    hour = {peer: times.at(_HOUR, _DEGREES[peer]) for peer, times in found.items()}
    return {"peers": measured, "extrapolated_hour_ms": hour}


def _ratios(result: dict[str, Any], config: BenchSessionConfig) -> dict[str, dict[str, float]]:
    """How many times longer a micro-turn takes a peer, at each length and after an hour."""
    ours = result["sessions"].get("1", result["sessions"][str(config.sessions[0])])["p50_ms"]
    return {
        peer: {
            **{length: ms / ours for length, ms in times.items()},
            "hour_extrapolated": result["extrapolated_hour_ms"][peer] / ours,
        }
        for peer, times in result["peers"].items()
    }


# --- for people ------------------------------------------------------------------------------
def format_session(result: dict[str, Any]) -> str:
    """Format the figures as a text table."""
    budget = result["micro_turn_ms"]
    lines = [
        f"{result['checkpoint']}; {result['threads']} threads; {result['micro_turns']} micro-turns",
        f"{'sessions':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  p99 of {budget} ms",
    ]
    for n, row in result["sessions"].items():
        p50, p99, worst = row["p50_ms"], row["p99_ms"], row["max_ms"]
        lines.append(f"{n:>8} {p50:>8.1f} {p99:>8.1f} {worst:>8.1f}  {p99 / budget:.0%}")
    hour = result["hour"]
    if hour:
        lines.append(
            f"{hour['micro_turns']} micro-turns of one: first hundred {hour['first_ms']:.2f} ms, "
            f"last {hour['last_ms']:.2f} ms, ratio {hour['last_over_first']:.3f}, and "
            f"{hour['last_over_young']:.3f} of a young conversation in turns with it; "
            f"p99 {hour['p99_ms']:.1f}, max {hour['max_ms']:.1f}; "
            f"resident memory {hour['rss_growth']:+.2%}"
        )
    if "peers" in result:
        lines += _peer_lines(result)
    return "\n".join(lines) + "\n"


def _peer_lines(result: dict[str, Any]) -> list[str]:
    lengths = list(next(iter(result["peers"].values())))
    heads = [f"after {length}" for length in lengths] + ["(an hour)"]
    lines = ["without sessions, ms of a micro-turn (times ours):"]
    lines.append(f"{'':>10}" + "".join(f"{head:>20}" for head in heads))
    for peer, times in result["peers"].items():
        ratios = result["ratios"][peer]
        cells = [f"{ms:,.1f} ({ratios[length]:.1f}x)" for length, ms in times.items()]
        hour = result["extrapolated_hour_ms"][peer]
        cells.append(f"{hour:,.0f} ({ratios['hour_extrapolated']:.0f}x)")
        lines.append(f"{peer:>10}" + "".join(f"{cell:>20}" for cell in cells))
    lines.append(f"(an hour): {_HOUR} micro-turns, extrapolated from the longest lengths measured")
    return lines
