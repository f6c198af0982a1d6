"""The commands `microturn bench ...`; what they need is imported when they run."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.evaluation.bench.config import (
    BenchKernelsConfig,
    BenchLoaderConfig,
    BenchSessionConfig,
    BenchSimulateConfig,
    BenchTrainingConfig,
)

FILES = "bench"  # the folder of configs/ for these commands
NOTHING_KEPT = "interrupted; nothing was written"


def _simulate(config: BenchSimulateConfig) -> int:
    from microturn.evaluation.bench.simulate import run

    return run(config)


def _loader(config: BenchLoaderConfig) -> int:
    from microturn.evaluation.bench.loader import run

    return run(config)


def _training(config: BenchTrainingConfig) -> int:
    from microturn.evaluation.bench.training import run

    return run(config)


def _session(config: BenchSessionConfig) -> int:
    from microturn.evaluation.bench.session import run

    return run(config)


def _kernels(config: BenchKernelsConfig) -> int:
    from microturn.evaluation.bench.kernels import run

    return run(config)


BENCH_SIMULATE = Command(
    schema=BenchSimulateConfig,
    run=_simulate,
    files=FILES,
    help="Seconds of dialogue per CPU second: ours, lhotse, and the least that must be done.",
    on_interrupt=NOTHING_KEPT,
)

BENCH_LOADER = Command(
    schema=BenchLoaderConfig,
    run=_loader,
    files=FILES,
    help="Seconds of dialogue per second and core: packed lanes, webdataset, FLAC, and the floor.",
    on_interrupt=NOTHING_KEPT,
)

BENCH_TRAINING = Command(
    schema=BenchTrainingConfig,
    run=_training,
    files=FILES,
    help="FLOP rate of training steps beside a bare loop of the same matrix products.",
    on_interrupt=NOTHING_KEPT,
)

BENCH_SESSION = Command(
    schema=BenchSessionConfig,
    run=_session,
    files=FILES,
    help="Time micro-turns of 1, 2, 4 and 8 conversations at once.",
    on_interrupt=NOTHING_KEPT,
)

BENCH_KERNELS = Command(
    schema=BenchKernelsConfig,
    run=_kernels,
    files=FILES,
    help="Check the kernels against their definitions and time them beside plain PyTorch.",
    on_interrupt=NOTHING_KEPT,
)
