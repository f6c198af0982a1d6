"""Training and planning count the same arithmetic."""

import pytest

from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.plan.count import meta_model
from microturn.model.plan.flops import forward_flops
from microturn.model.streams import StreamLayout
from microturn.training.flops import flops_per_micro_turn

MODELS = [
    ModelConfig(),
    ModelConfig(n_sinks=4, global_every=2, global_window=90, window=20),
    ModelConfig(moe=MoEConfig(n_experts=0), flow=FlowConfig(draws=4)),
    ModelConfig(n_layers=6, n_attention_only=2),
    ModelConfig(audio_channels=(24, 48, 96)),
]


@pytest.mark.parametrize("n", [5, 150])
@pytest.mark.parametrize("cfg", MODELS, ids=["plain", "sinks", "dense", "attention", "hearing"])
def test_utilisation_and_plan_agree(cfg: ModelConfig, n: int) -> None:
    model = meta_model(cfg, StreamLayout(), 512)
    planned = forward_flops(cfg, StreamLayout(), 512, n, training=True)
    assert 3 * sum(planned.values()) == pytest.approx(flops_per_micro_turn(model, n))
