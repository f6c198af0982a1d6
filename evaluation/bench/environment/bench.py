"""`microturn bench environment`: a micro-turn of the closed loop beside the necessary work alone.

The floor is what a microphone of one user and one agent cannot do without: two convolutions with
the response of a room, whose tails are carried, and a sum.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from microturn.configs.load import load_config
from microturn.datagen.acoustics.streamed import StreamedFilter
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.config import DatagenConfig
from microturn.datagen.live import LiveSource
from microturn.evaluation.bench.config import BenchEnvironmentConfig
from microturn.evaluation.bench.results import publish


def run_bench_environment(config: BenchEnvironmentConfig) -> int:
    """Play episodes of each mix to the planned agent and time them, on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        rows = {name: measure(name, config) for name in config.mixes}
    result = {"micro_turn_ms": rows}
    publish(result, format_environment(result), config)
    return 0


def measure(mix: str, config: BenchEnvironmentConfig) -> dict[str, float]:
    """Return CPU milliseconds of a mix: of a micro-turn, of a beginning, and of the floor."""
    loaded = load_config(DatagenConfig, [mix], ["out=live", f"cache={config.cache}"])
    source = LiveSource.of(replace(loaded, n_micro_turns=config.n_micro_turns))
    times: dict[str, list[float]] = {"step": [], "p95": [], "reset": [], "floor": []}
    for index in range(config.warm_up + config.n_episodes):
        environment = Environment(source, index)
        begun_ms = cpu_ms()
        environment.reset()
        reset_ms = cpu_ms() - begun_ms
        steps = episode_ms(environment)
        if index >= config.warm_up:  # which fill the caches of recordings and filters
            times["reset"].append(reset_ms)
            times["step"].append(sum(steps) / len(steps))
            times["p95"].append(float(np.percentile(steps, 95)))
            times["floor"].append(floor_ms(source, environment, n=len(steps)))
    found = {name: median(values) for name, values in times.items()}
    found["with_reset"] = found["step"] + found["reset"] / config.n_micro_turns
    return found


def episode_ms(environment: Environment) -> list[float]:
    """Return the CPU milliseconds of each micro-turn of the planned agent."""
    spent = []
    for output in environment.recorded():
        begun_ms = cpu_ms()
        environment.step(output)
        spent.append(cpu_ms() - begun_ms)
    return spent


def floor_ms(source: LiveSource, environment: Environment, *, n: int) -> float:
    """Return the CPU milliseconds of two convolutions and a sum, per micro-turn."""
    block = source.layout.samples_per_micro_turn
    recipe = source.simulator.recipe(environment.index)
    response = source.simulator.renderer.speaker_response(recipe)
    user, echo = (StreamedFilter(response, block=block) for _ in range(2))
    sound = np.random.default_rng(0).standard_normal((2, block)).astype(np.float32)
    begun_ms = cpu_ms()
    for _ in range(n):
        np.add(user(sound[0]), echo(sound[1]))
    return (cpu_ms() - begun_ms) / n


def cpu_ms() -> float:
    return time.process_time() * 1000


def format_environment(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    columns: Sequence[tuple[str, str]] = (
        *(("step", "micro-turn"), ("p95", "95th percentile"), ("floor", "floor")),
        *(("reset", "reset"), ("with_reset", "micro-turn with its share of reset")),
    )
    head = f"{'CPU ms, one thread':28}" + "".join(
        f"{title:>{len(title) + 3}}" for _, title in columns
    )
    lines = [head]
    for mix, row in result["micro_turn_ms"].items():
        cells = "".join(f"{row[name]:{len(title) + 3}.2f}" for name, title in columns)
        lines.append(f"{mix:28}{cells}")
    return "\n".join(lines) + "\n"
