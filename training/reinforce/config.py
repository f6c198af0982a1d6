"""Configuration of `microturn reinforce`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from microturn.configs.command import option, require_at_least
from microturn.model.config import ModelConfig
from microturn.training.config import OptimConfig, TrainingConfig

CREDITS: Final = ("event", "dialogue")


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What an event is worth by what became of it (training/reinforce/rewards.py)."""

    right: float = option(1.0, "the agent did what was expected, in time")
    missed: float = option(0.0, "it did nothing, or too late")
    against: float = option(
        -1.0,
        "it did the opposite: spoke in a pause, went on after an interruption, stopped for a "
        "backchannel, said a wrong word",
    )
    silent: float = option(0.0, "it kept silent where nothing else was expected")
    price: float = option(0.1, "price of each micro-turn with speech that no event explains")
    credit: str = option(
        "event",
        "which tokens a reward counts for: event, those of the event's window, or dialogue, all",
    )

    def __post_init__(self) -> None:
        if self.credit not in CREDITS:
            raise ValueError(f"reward.credit={self.credit} is none of {', '.join(CREDITS)}")
        require_at_least(self, "reward", price=0.0)
        if not self.against <= self.missed <= self.right:
            raise ValueError(
                f"reward.against={self.against:g} must be at most reward.missed={self.missed:g}, "
                f"and that at most reward.right={self.right:g}"
            )


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Conversations that a step learns from."""

    n_dialogues: int = option(4, "different conversations per rollout")
    n_samples: int = option(4, "times that each of them is held, by other chance: a group")
    temperature: float = option(1.0, "of the words, `<idle>` included")
    max_micro_turns: int = option(600, "a conversation that is longer is broken off")
    updates: int = option(2, "optimiser steps on each rollout")

    def __post_init__(self) -> None:
        require_at_least(self, "rollout", n_dialogues=1, n_samples=2, max_micro_turns=2, updates=1)
        if self.temperature <= 0:
            raise ValueError(f"rollout.temperature={self.temperature:g} must be above 0")

    @property
    def n_rows(self) -> int:
        return self.n_dialogues * self.n_samples


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Conversations that are not learned from, held without chance before, meanwhile and after."""

    environment: str = option("", "as `environment`, of others; empty: none are held")
    n_dialogues: int = option(16, "conversations, all at once")
    every_steps: int = option(50, "optimiser steps between two times")

    def __post_init__(self) -> None:
        require_at_least(self, "held_out", n_dialogues=1, every_steps=1)


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """One run of `microturn reinforce`."""

    checkpoint: str = option(
        help="supervised checkpoint that the run starts from and is held near to: folder, run, "
        "file or OWNER/NAME of the hub"
    )
    environment: str = option(
        help="users to talk with: live:FILE.yaml key=value ..., which react, or a shard set, whose "
        "users go on as recorded"
    )
    data: str = option(
        help="recorded dialogues that are trained on as before, as `data` of `microturn train`"
    )
    out: str = option(help="run folder; gets checkpoint/, states/, log/ and held_out/")
    resume: bool = option(True, "continue from the last state in out/states where there is one")
    seed: int = option(0, "seed of conversations, chance and noise")
    max_steps: int = option(200, "optimiser steps of the whole run, rollout.updates per rollout")
    max_minutes: float = option(
        0.0, "minutes of the whole run, 0: no limit; the schedule follows whichever comes first"
    )
    supervised_share: float = option(
        0.25, "share of the loss that recorded dialogues have, so that voice and ears stay"
    )
    batch_size: int = option(4, "recorded dialogues per step")
    kl: float = option(0.05, "weight of the divergence from the supervised checkpoint")
    clip: float = option(0.2, "largest change of a probability that is rewarded, as a share of it")
    freeze: tuple[str, ...] = option((), "parts that are not trained, as in `microturn train`")
    precision: str = option("32", "32, bf16, or auto, as in `microturn train`")
    threads: int = option(0, "torch threads, 0: as many as there are cores")
    checkpoint_minutes: float = option(1.0, "minutes between two saved states, 0: not by time")
    checkpoint_steps: int = option(0, "steps between two saved states, 0: not by steps")
    checkpoints_kept: int = option(2, "saved states that are kept, the last ones")
    log: str = option("csv", "csv: out/log/metrics.csv, tensorboard: event files in out/log, both")
    log_steps: int = option(2, "steps between two lines of the log")
    accelerator: str = option("auto", "Lightning accelerator: auto, cpu or gpu")
    rollout: RolloutConfig = option(
        default_factory=RolloutConfig, help="conversations to learn from"
    )
    reward: RewardConfig = option(default_factory=RewardConfig, help="what is right and wrong")
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-4, muon_lr=0.0, weight_decay=0.0, warmup_steps=5, decay=0.3
        ),
        metadata={"help": "optimiser and schedule, as in `microturn train`"},
    )
    held_out: HeldOutConfig = option(
        default_factory=HeldOutConfig, help="conversations that are not learned from"
    )

    def __post_init__(self) -> None:
        require_at_least(self, "", kl=0.0, max_steps=1, batch_size=1)
        if not 0 <= self.supervised_share < 1:
            raise ValueError(f"supervised_share={self.supervised_share:g} must lie in [0, 1)")
        if not 0 < self.clip < 1:
            raise ValueError(f"clip={self.clip:g} must lie between 0 and 1")
        if self.max_steps % self.rollout.updates:
            raise ValueError(
                f"max_steps={self.max_steps} must be a multiple of rollout.updates="
                f"{self.rollout.updates}"
            )

    def training(self, model: ModelConfig) -> TrainingConfig:
        """Return the configuration of the training around it, of a model of these sizes."""
        return TrainingConfig(
            data=self.data,
            out=self.out,
            resume=self.resume,
            init=self.checkpoint,
            freeze=self.freeze,
            seed=self.seed,
            max_steps=self.max_steps,
            max_minutes=self.max_minutes,
            batch_size=self.batch_size,
            precision=self.precision,
            threads=self.threads,
            loader_workers=0,
            checkpoint_minutes=self.checkpoint_minutes,
            checkpoint_steps=self.checkpoint_steps,
            checkpoints_kept=self.checkpoints_kept,
            divergence=0.0,
            log=self.log,
            log_steps=self.log_steps,
            accelerator=self.accelerator,
            model=model,
            optim=self.optim,
        )
