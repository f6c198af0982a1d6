"""What a training run can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from microturn.configs.command import option
from microturn.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW for vectors and tables, Muon for matrices, one schedule for both."""

    lr: float = option(3e-3, "peak learning rate of AdamW")
    muon_lr: float = option(0.02, "peak learning rate of Muon on matrices, 0: AdamW for all")
    weight_decay: float = option(0.01, "decoupled weight decay of matrices")
    beta2: float = option(0.95, "second-moment decay of AdamW")
    warmup_steps: int = option(30, "steps of linear warm-up")
    decay: float = option(0.6, "share of the run, at its end, over which the rate falls to zero")
    clip: float = option(1.0, "largest norm of the gradient")

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"optim.decay={self.decay} must lie in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class ListenConfig:
    """Listening validation: held-out dialogues streamed through a session and scored."""

    data: str = option("", "shard set of held-out dialogues, empty: no listening")
    n_dialogues: int = option(16, "dialogues that are streamed each time")
    every_minutes: float = option(4.0, "minutes of training between two of them")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One run of `microturn train`."""

    data: str = option(
        help="folder or URL of training shards, made by `microturn simulate`; or live:FILE.yaml, "
        "dialogues that are simulated while training"
    )
    out: str = option(help="run folder; gets checkpoint/, last.ckpt, log/ and pictures")
    resume: bool = option(True, "go on from out/last.ckpt where there is one")
    seed: int = option(0, "seed of weights, data order and noise")
    max_steps: int = option(1000, "optimiser steps of the whole run")
    max_minutes: float = option(
        0.0, "minutes of the whole run, 0: no limit; the schedule follows whichever comes first"
    )
    batch_size: int = option(8, "dialogues per step")
    precision: str = option("auto", "32, bf16, or auto: bf16 on a GPU, 32 elsewhere")
    threads: int = option(0, "torch threads, 0: as many as there are cores")
    loader_workers: int = option(1, "processes that read shards, 0: the training process itself")
    checkpoint_minutes: float = option(1.0, "minutes between two saved states")
    accelerator: str = option("auto", "Lightning accelerator: auto, cpu or gpu")
    model: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "sizes of the model"})
    optim: OptimConfig = option(default_factory=OptimConfig, help="optimiser and schedule")
    listen: ListenConfig = option(default_factory=ListenConfig, help="listening validation")

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "32", "bf16"):
            raise ValueError(f"precision={self.precision} is none of auto, 32, bf16")
        if self.max_steps < 1 or self.batch_size < 1:
            raise ValueError("max_steps and batch_size must be at least 1")
