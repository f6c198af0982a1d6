"""Configuration of `microturn plan`."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option
from microturn.configs.load import ConfigError
from microturn.model.config import ModelConfig
from microturn.model.streams import StreamLayout


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A kind of GPU, and its links inside and between nodes."""

    memory_gb: float = option(80.0, "memory of a GPU, 10^9 bytes")
    tflops: float = option(989.0, "dense bf16 peak of a GPU, 10^12 operations per second")
    node_gpus: int = option(8, "GPUs of a node")
    node_gb_s: float = option(450.0, "rate of a GPU to others of its node, 10^9 bytes per second")
    network_gb_s: float = option(50.0, "rate of a GPU to other nodes, 10^9 bytes per second")

    def __post_init__(self) -> None:
        for name in ("memory_gb", "tflops", "node_gpus", "node_gb_s", "network_gb_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"machine.{name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """`microturn plan`; the defaults of `machine` are those of an H100 with InfiniBand."""

    gpus: int = option(1, "GPUs that train together")
    mfu: float = option(0.35, "share of the peak that training is assumed to reach")
    batch_size: int = option(0, "dialogues of one step on all GPUs together, 0: one for each GPU")
    micro_turns: int = option(300, "micro-turns of a dialogue")
    checkpointing: bool = option(True, "recompute blocks in the backward pass")
    vocab_size: int = option(2048, "entries of the tokenizer")
    json: str = option("", "write the numbers to this file, - for stdout")
    machine: Machine = option(default_factory=Machine, help="the GPUs")
    layout: StreamLayout = option(default_factory=StreamLayout, help="lanes of a micro-turn")
    model: ModelConfig = option(default_factory=ModelConfig, help="sizes of the model")

    def __post_init__(self) -> None:
        for name in ("gpus", "micro_turns", "vocab_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.batch_size < 0:
            raise ConfigError(f"batch_size={self.batch_size} must be 0 (one for each GPU) or more")
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"mfu={self.mfu} must lie in (0, 1]")

    @property
    def dialogues(self) -> int:
        """Dialogues of one step on all GPUs together."""
        return self.batch_size or self.gpus
