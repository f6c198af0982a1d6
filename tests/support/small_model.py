"""A model that is small and has every part that can hold a state."""

from typing import Final

from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.vocoders.config import VocoderConfig

SMALL: Final = ModelConfig(
    d_model=48,
    n_layers=2,
    n_heads=4,
    d_ff=64,
    window=5,
    moe=MoEConfig(n_experts=4, d_expert=16),
    flow=FlowConfig(width=32, depth=2, steps=2),
    vocoder=VocoderConfig(kind="istft", width=16, layers=2),
)
