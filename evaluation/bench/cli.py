"""The commands `microturn bench ...`; each imports what it needs when it runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from microturn.configs.command import Command, starts_over
from microturn.evaluation.bench.config import (
    BenchAcousticsConfig,
    BenchClientsConfig,
    BenchCorpusConfig,
    BenchDeriveConfig,
    BenchEnvironmentConfig,
    BenchFaultsConfig,
    BenchGpuConfig,
    BenchGpuKernelsConfig,
    BenchGpuSessionsConfig,
    BenchGpuTrainingConfig,
    BenchKernelsConfig,
    BenchLoaderConfig,
    BenchMixesConfig,
    BenchPlanConfig,
    BenchServeConfig,
    BenchSessionConfig,
    BenchSimulateConfig,
    BenchTrainingConfig,
)

FILES = "bench"  # the folder of configs/ for these commands


def _mixes(config: BenchMixesConfig) -> int:
    from microturn.evaluation.bench.mixes.bench import run_bench_mixes

    return run_bench_mixes(config)


def _simulate(config: BenchSimulateConfig) -> int:
    from microturn.evaluation.bench.simulate import run_bench_simulate

    return run_bench_simulate(config)


def _loader(config: BenchLoaderConfig) -> int:
    from microturn.evaluation.bench.loader import run_bench_loader

    return run_bench_loader(config)


def _corpus(config: BenchCorpusConfig) -> int:
    from microturn.evaluation.bench.corpora.bench import run_bench_corpus

    return run_bench_corpus(config)


def _derive(config: BenchDeriveConfig) -> int:
    from microturn.evaluation.bench.derived.bench import run_bench_derive

    return run_bench_derive(config)


def _training(config: BenchTrainingConfig) -> int:
    if config.lengths:
        from microturn.evaluation.bench.training_lengths import run_bench_lengths

        return run_bench_lengths(config)
    from microturn.evaluation.bench.training import run_bench_training

    return run_bench_training(config)


def _plan(config: BenchPlanConfig) -> int:
    from microturn.evaluation.bench.planned.bench import run_bench_plan

    return run_bench_plan(config)


def _faults(config: BenchFaultsConfig) -> int:
    from microturn.evaluation.bench.faults.bench import run_bench_faults

    return run_bench_faults(config)


def _session(config: BenchSessionConfig) -> int:
    from microturn.evaluation.bench.session import run_bench_session

    return run_bench_session(config)


def _serve(config: BenchServeConfig) -> int:
    from microturn.evaluation.bench.serving.bench import run_bench_serve

    return run_bench_serve(config)


def _clients(config: BenchClientsConfig) -> int:
    from microturn.evaluation.bench.clients.bench import run_bench_clients

    return run_bench_clients(config)


def _kernels(config: BenchKernelsConfig) -> int:
    from microturn.evaluation.bench.kernels import run_bench_kernels

    return run_bench_kernels(config)


def _acoustics(config: BenchAcousticsConfig) -> int:
    from microturn.evaluation.bench.acoustics import run_bench_acoustics

    return run_bench_acoustics(config)


def _environment(config: BenchEnvironmentConfig) -> int:
    from microturn.evaluation.bench.environment.bench import run_bench_environment

    return run_bench_environment(config)


def _gpu(config: BenchGpuConfig) -> int:
    from microturn.evaluation.bench.gpu.parts import run_bench_gpu

    return run_bench_gpu(config)


def _gpu_kernels(config: BenchGpuKernelsConfig) -> int:
    from microturn.evaluation.bench.gpu.steps import bench_device

    device = bench_device(needs_gpu=not config.smoke)  # before a kernel is imported
    from microturn.evaluation.bench.gpu.kernels import run_bench_gpu_kernels

    return run_bench_gpu_kernels(config, device)


def _gpu_sessions(config: BenchGpuSessionsConfig) -> int:
    from microturn.evaluation.bench.gpu.steps import bench_device

    device = bench_device(needs_gpu=not config.smoke)  # before a kernel is imported
    from microturn.evaluation.bench.gpu.sessions import run_bench_gpu_sessions

    return run_bench_gpu_sessions(config, device)


def _gpu_training(config: BenchGpuTrainingConfig) -> int:
    from microturn.evaluation.bench.gpu.steps import bench_device

    device = bench_device(needs_gpu=not config.smoke)  # before a kernel is imported
    from microturn.evaluation.bench.gpu.training import run_bench_gpu_training

    return run_bench_gpu_training(config, device)


def _steps_kept(name: str, config: Any, line: str) -> str:
    path = Path(config.out) / name
    if not path.is_file():
        return starts_over(config, line)
    return f"figures of finished steps are in {path}; start it again with: {line}"


BENCH_SIMULATE = Command(
    schema=BenchSimulateConfig,
    run=_simulate,
    files=FILES,
    help="Seconds of dialogue per CPU second: microturn, lhotse, and the necessary work alone.",
)

BENCH_MIXES = Command(
    schema=BenchMixesConfig,
    run=_mixes,
    files=FILES,
    help="Dialogues per CPU second of several mixes in one run, and their start on new corpora.",
)

BENCH_ACOUSTICS = Command(
    schema=BenchAcousticsConfig,
    run=_acoustics,
    files=FILES,
    help="CPU time of each acoustic effect, and of the responses of a room.",
)

BENCH_ENVIRONMENT = Command(
    schema=BenchEnvironmentConfig,
    run=_environment,
    files=FILES,
    help="CPU time of a micro-turn of the closed loop, beside two convolutions and a sum.",
)

BENCH_LOADER = Command(
    schema=BenchLoaderConfig,
    run=_loader,
    files=FILES,
    help="Seconds of dialogue per second and core: packed lanes, webdataset, FLAC, and the floor.",
)

BENCH_CORPUS = Command(
    schema=BenchCorpusConfig,
    run=_corpus,
    files=FILES,
    help="Time and memory to open a corpus, against the number of its utterances, beside others.",
)

BENCH_DERIVE = Command(
    schema=BenchDeriveConfig,
    run=_derive,
    files=FILES,
    help="F1 of events that are derived from words or sound against the exact labels.",
)

BENCH_TRAINING = Command(
    schema=BenchTrainingConfig,
    run=_training,
    files=FILES,
    help="FLOP rate of training steps beside a replay of the same matrix products.",
)

BENCH_PLAN = Command(
    schema=BenchPlanConfig,
    run=_plan,
    files=FILES,
    help="Memory and time of training steps beside what `microturn plan` says of them.",
)

BENCH_SESSION = Command(
    schema=BenchSessionConfig,
    run=_session,
    files=FILES,
    help="Time micro-turns of 1, 2, 4 and 8 sessions at once.",
)

BENCH_FAULTS = Command(
    schema=BenchFaultsConfig,
    run=_faults,
    files=FILES,
    help="Harm trainings of several ranks in many ways, and let each go on.",
)

BENCH_SERVE = Command(
    schema=BenchServeConfig,
    run=_serve,
    files=FILES,
    help="What the server adds to a micro-turn, and what becomes of each chunk under overload.",
)

BENCH_CLIENTS = Command(
    schema=BenchClientsConfig,
    run=_clients,
    files=FILES,
    help="Let every real client that is installed talk to the server with recorded speech.",
)

BENCH_KERNELS = Command(
    schema=BenchKernelsConfig,
    run=_kernels,
    files=FILES,
    help="Check the kernels against their definitions and time them beside plain PyTorch.",
)

BENCH_GPU = Command(
    schema=BenchGpuConfig,
    run=_gpu,
    files=FILES,
    help="Every figure of a GPU in one go: training, sessions and kernels, in one short table.",
    on_interrupt=partial(_steps_kept, "gpu.json"),
)

BENCH_GPU_KERNELS = Command(
    schema=BenchGpuKernelsConfig,
    run=_gpu_kernels,
    files=FILES,
    help="Check and time every kernel on a GPU, with a search for the best tiles.",
    on_interrupt=partial(_steps_kept, "kernels.json"),
)

BENCH_GPU_SESSIONS = Command(
    schema=BenchGpuSessionsConfig,
    run=_gpu_sessions,
    files=FILES,
    help="Time micro-turns of 1 to 64 sessions of two models on a GPU, and of a long session.",
    on_interrupt=partial(_steps_kept, "sessions.json"),
)

BENCH_GPU_TRAINING = Command(
    schema=BenchGpuTrainingConfig,
    run=_gpu_training,
    files=FILES,
    help="Time training steps on a GPU, compiled too, and runs of `microturn train`.",
    on_interrupt=partial(_steps_kept, "training.json"),
)
