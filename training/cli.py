"""`microturn train`."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.training.bench_config import BenchLoaderConfig, BenchTrainingConfig
from microturn.training.config import TrainingConfig


def _train(cfg: TrainingConfig) -> int:
    from microturn.training.train import train

    return train(cfg)


TRAIN = Command(
    schema=TrainingConfig,
    run=_train,
    help="train a model on simulated dialogues",
    on_interrupt="interrupted; the same command again continues from out/last.ckpt",
)


def _bench_loader(cfg: BenchLoaderConfig) -> int:
    from microturn.training.bench_loader import run

    return run(cfg)


def _bench_training(cfg: BenchTrainingConfig) -> int:
    from microturn.training.bench_training import run

    return run(cfg)


BENCH_LOADER = Command(
    schema=BenchLoaderConfig,
    run=_bench_loader,
    help="Seconds of dialogue per second and core: packed lanes, webdataset, FLAC, and the floor.",
    on_interrupt="interrupted; nothing was written",
)

BENCH_TRAINING = Command(
    schema=BenchTrainingConfig,
    run=_bench_training,
    help="FLOP rate of training steps beside a bare loop of the same matrix products.",
    on_interrupt="interrupted; nothing was written",
)
