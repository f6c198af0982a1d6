"""Sizes of the model, checked when they are built."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from microturn.model.vocoders.config import VocoderConfig

SHIPPED: Final = "shipped"  # in `checkpoint=`: the checkpoint that comes with the package
SHIPPED_FOLDER: Final = Path(__file__).resolve().parent / SHIPPED


def folder_of(checkpoint: str) -> str:
    """Return the folder that `checkpoint=` names: of the one that ships, or the name itself."""
    return str(SHIPPED_FOLDER) if checkpoint == SHIPPED else checkpoint


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """Mixture of experts after the first dense block."""

    n_experts: int = field(default=8, metadata={"help": "routed experts, 0: dense blocks only"})
    top_k: int = field(default=2, metadata={"help": "routed experts that each position uses"})
    n_shared: int = field(default=1, metadata={"help": "experts that every position uses"})
    d_expert: int = field(default=96, metadata={"help": "hidden width of one expert"})
    route_scale: float = field(
        default=0.0, metadata={"help": "factor on the mixed output, 0: number of active experts"}
    )
    z_loss: float = field(default=1e-3, metadata={"help": "weight of the router's z-loss"})
    bias_speed: float = field(
        default=1e-3, metadata={"help": "step of the selection bias per optimiser step"}
    )

    def __post_init__(self) -> None:
        if self.n_experts and not 0 < self.top_k <= self.n_experts:
            raise ValueError(
                f"model.moe.top_k={self.top_k} must lie in 1..n_experts={self.n_experts}"
            )
        if self.d_expert % 8:
            raise ValueError(f"model.moe.d_expert={self.d_expert} must be a multiple of 8")

    @property
    def n_active(self) -> int:
        return self.top_k + self.n_shared


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Flow-matching head of the audio_out lane."""

    width: int = field(default=192, metadata={"help": "hidden width of the head"})
    depth: int = field(default=3, metadata={"help": "residual blocks of the head"})
    draws: int = field(default=2, metadata={"help": "noise draws per position and training step"})
    steps: int = field(default=4, metadata={"help": "Euler steps when sampling"})
    temperature: float = field(
        default=0.7, metadata={"help": "standard deviation of the noise that sampling starts from"}
    )
    guidance: float = field(
        default=1.0, metadata={"help": "classifier-free guidance, 1.0: none (one pass)"}
    )
    drop_condition: float = field(
        default=0.1, metadata={"help": "share of training positions without backbone condition"}
    )
    drop_previous: float = field(
        default=0.1, metadata={"help": "share of training positions without the previous patch"}
    )

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"model.flow.steps={self.steps} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An early-fusion transformer over the positions of a micro-turn stream."""

    d_model: int = field(default=160, metadata={"help": "width of the residual stream"})
    n_layers: int = field(
        default=4, metadata={"help": "blocks; the first feed-forward layer is dense"}
    )
    n_attention_only: int = field(
        default=0, metadata={"help": "first blocks, which have no feed-forward layer"}
    )
    n_heads: int = field(default=5, metadata={"help": "query heads"})
    n_kv_heads: int = field(default=1, metadata={"help": "key/value heads"})
    d_ff: int = field(default=448, metadata={"help": "hidden width of dense blocks"})
    window: int = field(default=64, metadata={"help": "micro-turns that attention reaches back"})
    global_every: int = field(
        default=0, metadata={"help": "every n-th layer reaches back global_window, 0: none does"}
    )
    global_window: int = field(
        default=256, metadata={"help": "micro-turns that global layers reach back"}
    )
    n_sinks: int = field(
        default=0, metadata={"help": "learned keys and values per key/value head, always in reach"}
    )
    rope_base: float = field(default=10_000.0, metadata={"help": "base of rotary positions"})
    history_noise: float = field(
        default=0.3,
        metadata={"help": "largest share of noise in the own-voice patches read in training"},
    )
    history_hushed: float = field(
        default=0.0,
        metadata={"help": "share of stretches of 0.8 s whose own voice is read as silence"},
    )
    start_at: float = field(
        default=0.5,
        metadata={"help": "a text lane has a token where all but idle together are this likely"},
    )
    say_temperature: float = field(
        default=0.0,
        metadata={"help": "temperature at which a word of `say` is drawn, 0: the most likely"},
    )
    audio_channels: tuple[int, ...] = field(
        default=(), metadata={"help": "widths inside the stem of sound (three), none: no stem"}
    )
    video_channels: tuple[int, ...] = field(
        default=(64, 128, 256),
        metadata={"help": "widths inside the video stem, where the layout has the lane"},
    )
    moe: MoEConfig = field(default_factory=MoEConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise ValueError(
                f"model.d_model={self.d_model} must be n_heads={self.n_heads} times an even number"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"model.n_heads={self.n_heads} must be a multiple of n_kv_heads={self.n_kv_heads}"
            )
        if not 0 <= self.n_attention_only < self.n_layers:
            raise ValueError(
                f"model.n_attention_only={self.n_attention_only} must be at least 0 and below "
                f"n_layers={self.n_layers}"
            )
        if self.d_model % 8:
            raise ValueError(f"model.d_model={self.d_model} must be a multiple of 8")
        if self.window < 1:
            raise ValueError(f"model.window={self.window} must be at least 1 micro-turn")
        if self.say_temperature < 0:
            raise ValueError(f"model.say_temperature={self.say_temperature} must be 0 or more")
        if self.global_every < 0:
            raise ValueError(f"model.global_every={self.global_every} must be 0 (none) or more")
        if self.global_every and self.global_window < self.window:
            raise ValueError(
                f"model.global_window={self.global_window} must be at least "
                f"window={self.window} micro-turns"
            )
        if self.n_sinks < 0:
            raise ValueError(f"model.n_sinks={self.n_sinks} must be 0 (none) or more")
        if self.n_sinks and self.head_dim < 8:
            raise ValueError(
                f"model.n_sinks={self.n_sinks} needs heads of at least 8 numbers, "
                f"d_model / n_heads is {self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    def is_global(self, layer: int) -> bool:
        """Whether layer 0, 1, ... reaches back `global_window`."""
        return self.global_every > 0 and (layer + 1) % self.global_every == 0

    def reach(self, layer: int) -> int:
        """Micro-turns that layer 0, 1, ... reaches back."""
        return self.global_window if self.is_global(layer) else self.window

    def has_ff(self, layer: int) -> bool:
        """Whether layer 0, 1, ... has a feed-forward layer, dense or of experts."""
        return layer >= self.n_attention_only

    def has_experts(self, layer: int) -> bool:
        """Whether layer 0, 1, ... mixes experts."""
        return layer > self.n_attention_only and self.moe.n_experts > 0

    def n_blocks_of_experts(self) -> int:
        return sum(self.has_experts(layer) for layer in range(self.n_layers))
