"""How weights start, and which optimiser group each parameter belongs to."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from microturn.model.checkpoint import TINY_LAYOUT
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.model.param_groups import ParamGroup, param_groups
from microturn.model.vocoders.config import VocoderConfig

GOLDEN = Path(__file__).parent / "golden" / "param_groups.json"
# Everything that has parameters: sinks, experts, dense blocks, video, a learned vocoder.
CONFIG = ModelConfig(
    d_model=64,
    n_layers=3,
    n_heads=4,
    d_ff=96,
    n_sinks=2,
    moe=MoEConfig(n_experts=4, d_expert=32),
    flow=FlowConfig(width=32, depth=1),
    vocoder=VocoderConfig(kind="istft", width=16, layers=1),
)
LAYOUT = replace(TINY_LAYOUT, video_rows=2, video_cols=3)


@pytest.fixture(scope="module")
def model() -> InteractionModel:
    torch.manual_seed(0)
    return InteractionModel(CONFIG, LAYOUT, vocab_size=64)


def test_every_parameter_has_the_group_that_is_written_down(model: InteractionModel) -> None:
    names = {parameter: name for name, parameter in model.named_parameters()}
    members: dict[str, list[str]] = {group.value: [] for group in ParamGroup}
    for parameter, group in param_groups(model).items():
        members[group.value].append(names[parameter])
    assert members == json.loads(GOLDEN.read_text())


def test_groups_keep_the_order_of_the_parameters(model: InteractionModel) -> None:
    assert [id(p) for p in param_groups(model)] == [id(p) for p in model.parameters()]


def test_a_module_that_declares_nothing_goes_by_dimensions() -> None:
    layer = torch.nn.Linear(3, 4)
    assert param_groups(layer) == {layer.weight: ParamGroup.TABLE, layer.bias: ParamGroup.VECTOR}


def test_blocks_to_compile_and_modules_to_shard_are_named(model: InteractionModel) -> None:
    names = {id(module): name for name, module in model.named_modules()}
    blocks = [f"backbone.blocks.{i}" for i in range(CONFIG.n_layers)]
    compiled = [names[id(module)] for module in model.blocks_to_compile()]
    assert compiled == [*blocks, "flow.blocks.0", "vocoder.blocks.0"]
    sharded = [names[id(module)] for module in model.modules_to_shard()]
    assert sharded == [*blocks, "unembed", "flow", "vocoder"]
    plain = InteractionModel(replace(CONFIG, vocoder=VocoderConfig()), LAYOUT, vocab_size=64)
    assert plain.vocoder not in plain.modules_to_shard()  # it has nothing to shard


RESIDUAL = (2 * CONFIG.n_layers) ** -0.5


@pytest.mark.parametrize(
    ("name", "scaled_std"),
    [
        ("backbone.blocks.0.attention.qkv.weight", 1.0),
        ("backbone.blocks.0.attention.out.weight", RESIDUAL),
        ("backbone.blocks.0.ff.up.weight", 1.0),
        ("backbone.blocks.0.ff.down.weight", RESIDUAL),
        ("backbone.blocks.1.ff.router.weight", 1.0),
        ("backbone.blocks.1.ff.shared.down.weight", RESIDUAL),
        ("embed.patch.weight", 1.0),
        ("embed.dmel.join.weight", 1.0),
        ("flow.blocks.0.down.weight", 1.0),
        ("flow.blocks.0.modulation.weight", 0.0),
        ("flow.time_in.2.weight", 1.0),
        ("flow.patch_out.weight", 0.0),
    ],
)
def test_a_layer_starts_by_its_number_of_inputs(
    model: InteractionModel, name: str, scaled_std: float
) -> None:
    weight = model.get_parameter(name)
    assert _std(weight) * weight.shape[1] ** 0.5 == pytest.approx(scaled_std, rel=0.15)


def test_stacked_experts_and_sinks_start_by_their_own_rule(model: InteractionModel) -> None:
    weights = dict(model.named_parameters())
    up, down = (weights[f"backbone.blocks.1.ff.{name}"] for name in ("up", "down"))
    assert _std(up) * 64**0.5 == pytest.approx(1.0, rel=0.05)
    assert _std(down) * 32**0.5 == pytest.approx(RESIDUAL, rel=0.05)
    assert _std(weights["backbone.blocks.2.attention.sink_keys"]) == pytest.approx(1.0, rel=0.7)
    assert not weights["backbone.blocks.2.attention.sink_values"].any()
    assert weights["unembed.weight"].any()


def _std(weight: Tensor) -> float:
    return float(weight.detach().std())
