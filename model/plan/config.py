"""Configuration of `microturn plan`."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option, require_at_least
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
class ConversationCosts:
    """Conversations of a training run, simulated, stored and read; costs as they were measured."""

    hours: tuple[float, ...] = option((), "hours of conversation, a row for each; []: no table")
    epochs: float = option(1.0, "times that training reads them")
    cores: int = option(1024, "cores of the Ray cluster that simulates them")
    dialogue_s_per_cpu_s: float = option(
        644.0, "seconds of dialogue that a core simulates in one; bench mixes, datagen/open.yaml"
    )
    kb_per_s: float = option(
        27.8, "10^3 bytes of shards for a second of dialogue; simulate datagen/open.yaml"
    )
    checkpoint_minutes: float = option(60.0, "minutes between two saved states, as of `train`")

    def __post_init__(self) -> None:
        if min(self.hours, default=1) <= 0:
            raise ConfigError(f"conversations.hours={[*self.hours]} must be above 0")
        for name in ("epochs", "cores", "dialogue_s_per_cpu_s", "kb_per_s", "checkpoint_minutes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"conversations.{name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """`microturn plan`; the defaults of `machine` are those of an H100 with InfiniBand."""

    gpus: int = option(1, "GPUs that train together")
    utilisation: float = option(
        0.0,
        "share of the peak at which forward, backward and what is computed again run, 0: 0.35 on a "
        "GPU (assumed), 0.58 on a CPU (measured, bench plan)",
    )
    optimizer_utilisation: float = option(
        0.0,
        "share of the peak at which Muon's products run, 0: 0.35 on a GPU (assumed), 0.95 on a CPU "
        "(measured, bench plan)",
    )
    batch_size: int = option(0, "dialogues of one step on all GPUs together, 0: one for each GPU")
    accumulate: int = option(1, "micro-batches of a step that a GPU computes one after another")
    micro_turns: int = option(300, "micro-turns of a dialogue")
    precision: str = option("bf16", "bf16 or 32, as of `train`")
    accelerator: str = option("gpu", "gpu, or cpu: a `gpu` is then a process on one")
    activation_checkpointing: bool = option(True, "recompute blocks in the backward pass")
    vocab_size: int = option(2048, "entries of the tokenizer")
    conversations: ConversationCosts = option(
        default_factory=ConversationCosts, help="what training on hours of conversation costs"
    )
    json: str = option("", "write the numbers to this file, - for stdout")
    machine: Machine = option(default_factory=Machine, help="the GPUs")
    layout: StreamLayout = option(default_factory=StreamLayout, help="lanes of a micro-turn")
    model: ModelConfig = option(default_factory=ModelConfig, help="sizes of the model")

    def __post_init__(self) -> None:
        require_at_least(self, "", gpus=1, micro_turns=1, vocab_size=1, accumulate=1, batch_size=0)
        for name, known in (("precision", ("bf16", "32")), ("accelerator", ("gpu", "cpu"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)} is none of {', '.join(known)}")
        node = self.machine.node_gpus
        if self.gpus > node and self.gpus % node:
            raise ConfigError(f"gpus={self.gpus} must be whole nodes of machine.node_gpus={node}")
        if self.dialogues % (self.gpus * self.accumulate):
            raise ConfigError(
                f"batch_size={self.dialogues} must be a multiple of gpus x accumulate="
                f"{self.gpus * self.accumulate}"
            )
        for name in ("utilisation", "optimizer_utilisation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)} must lie in [0, 1]")

    @property
    def model_flops_per_s(self) -> float:
        """Rate of a GPU in the passes of the model."""
        return self._rate(self.utilisation or (0.35 if self.accelerator == "gpu" else 0.58))

    @property
    def optimizer_flops_per_s(self) -> float:
        """Rate of a GPU in the optimiser."""
        share = 0.35 if self.accelerator == "gpu" else 0.95
        return self._rate(self.optimizer_utilisation or share)

    def _rate(self, share: float) -> float:
        return share * self.machine.tflops * 1e12

    @property
    def dialogues(self) -> int:
        """Dialogues of one step on all GPUs together."""
        return self.batch_size or self.gpus * self.accumulate

    @property
    def micro_turns_at_once(self) -> int:
        """Micro-turns of the dialogues that a GPU computes together."""
        return self.dialogues // (self.gpus * self.accumulate) * self.micro_turns

    @property
    def bytes_of_products(self) -> int:
        """Bytes of a number that products read and write."""
        return 2 if self.precision == "bf16" else 4
