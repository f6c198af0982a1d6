"""What hours of conversation cost: to simulate, to store, to train on, and to save states of."""

from __future__ import annotations

from math import ceil
from typing import Any

from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import Counts

_FP32 = 4
# `small` on an H100, compiled, inside `microturn train`: 308,684 positions/s of 14 in a micro-turn
# of 2.49 GFLOP, over a peak of 989 TFLOP/s (docs/performance.md#training-on-a-gpu).
SMALL_UTILISATION = 308_684 / 14 * 2.49e9 / 989e12


def state_bytes(counts: Counts) -> int:
    """Compute the size of a saved state: weights, one state for matrices, two for all else."""
    return _FP32 * (3 * counts.total - counts.matrices)


def costs(
    config: PlanConfig, counts: Counts, hours: float, *, arithmetic_s: float, traffic_s: float
) -> dict[str, Any]:
    """Compute one row; a step takes as long as the longer of its arithmetic and its traffic."""
    spent = config.conversations
    dialogue_s = config.layout.duration_s(config.micro_turns)
    dialogues = ceil(hours * 3600 / dialogue_s)
    steps = ceil(spent.epochs * dialogues / config.dialogues)
    slower = config.model_flops_per_s / (SMALL_UTILISATION * config.machine.tflops * 1e12)
    run_hours = steps * max(arithmetic_s, traffic_s) / 3600
    states = int(run_hours * 60 / spent.checkpoint_minutes) + 1  # and the last one
    cpu_hours = hours / spent.dialogue_s_per_cpu_s
    return {
        "hours": hours,
        "dialogues": dialogues,
        "simulation_cpu_hours": cpu_hours,
        "simulation_hours": cpu_hours / spent.cores,
        "shard_bytes": hours * 3600 * spent.kb_per_s * 1000,
        "positions": dialogues * config.micro_turns * config.layout.n_positions,
        "steps": steps,
        "gpu_hours": run_hours * config.gpus,
        "gpu_hours_as_small": steps * max(arithmetic_s * slower, traffic_s) / 3600 * config.gpus,
        "run_hours": run_hours,
        "states": states,
        "state_bytes": states * state_bytes(counts),
    }


def table(rows: list[dict[str, Any]], config: PlanConfig) -> list[str]:
    """Format the rows as lines of text."""
    spent = config.conversations
    lines = [
        f"{'hours':>10}{'CPU h':>9}{'h on ' + str(spent.cores):>11}{'shards TB':>11}"
        f"{'positions':>11}{'steps':>9}{'GPU h':>11}{'as small':>12}{'days':>8}{'states TB':>11}"
    ]
    for row in rows:
        lines.append(
            f"{row['hours']:>10,.0f}{row['simulation_cpu_hours']:>9,.0f}"
            f"{row['simulation_hours']:>11.2f}{row['shard_bytes'] / 1e12:>11.2f}"
            f"{row['positions']:>11.2e}{row['steps']:>9,}{row['gpu_hours']:>11,.0f}"
            f"{row['gpu_hours_as_small']:>12,.0f}{row['run_hours'] / 24:>8.1f}"
            f"{row['state_bytes'] / 1e12:>11.0f}"
        )
    return lines


def sources(config: PlanConfig, state: int) -> list[str]:
    """Say where the constants of the table come from."""
    spent = config.conversations
    return [
        f"CPU h: {spent.dialogue_s_per_cpu_s:g} s of dialogue per CPU second (bench mixes, "
        f"open.yaml); shards: {spent.kb_per_s:g} kB/s (simulate, open.yaml)",
        "GPU h: the longer of arithmetic and traffic above; as small: arithmetic at "
        f"{SMALL_UTILISATION:.1%} of the peak, which `train` reached with small on one H100",
        f"states: {state / 1e12:.3g} TB each, {state / config.gpus / 1e9:.3g} GB from each GPU, "
        f"every {spent.checkpoint_minutes:g} minutes",
    ]
