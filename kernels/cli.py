"""The command of this folder: `bench kernels`."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.kernels.config import BenchKernelsConfig


def _bench(config: BenchKernelsConfig) -> int:
    from microturn.kernels.bench import run

    return run(config)


BENCH_KERNELS = Command(
    schema=BenchKernelsConfig,
    run=_bench,
    help="Check the kernels against their definitions and time them beside plain PyTorch.",
    on_interrupt="interrupted; nothing was written",
)
