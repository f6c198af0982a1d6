"""`microturn simulate` and `microturn inspect`."""

import os
from pathlib import Path

from microturn.configs.command import Command, write_json
from microturn.datagen.bench_config import BenchSimulateConfig
from microturn.datagen.config import DatagenConfig, InspectConfig, ListenConfig


def run_simulate(config: DatagenConfig) -> int:
    from microturn.datagen.simulate import simulate

    card = simulate(config, cache=cache_folder(config.cache))
    write_json(card, config.json)
    return 0


def run_inspect(config: InspectConfig) -> int:
    from microturn.datagen.inspect import inspect

    return inspect(config)


def run_listen(config: ListenConfig) -> int:
    from microturn.datagen.listen_check import run_listen

    return run_listen(config)


def run_bench(config: BenchSimulateConfig) -> int:
    from microturn.datagen.bench import run

    return run(config)


def cache_folder(configured: str) -> Path:
    """Where things are kept that are made once: as configured, else as the system has it."""
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "microturn"


SIMULATE = Command(
    schema=DatagenConfig,
    run=run_simulate,
    help="Simulate dialogues with exact labels and write them as a shard set.",
    on_interrupt="interrupted; the same command again continues from the finished shards",
)

INSPECT = Command(
    schema=InspectConfig,
    run=run_inspect,
    positionals=("data",),
    help="Show the data card of a shard set; with index=I draw one dialogue and write its sound.",
)

LISTEN = Command(
    schema=ListenConfig,
    run=run_listen,
    help="Listen to dialogues of every scenario by program: silences, words, clipping, clicks.",
)

BENCH_SIMULATE = Command(
    schema=BenchSimulateConfig,
    run=run_bench,
    help="Seconds of dialogue per CPU second: ours, lhotse, and the least that must be done.",
    on_interrupt="interrupted; nothing was written",
)
