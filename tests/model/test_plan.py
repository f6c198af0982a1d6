"""`microturn plan`: counts are the module's own, the arithmetic adds up, errors are sentences."""

import json
from pathlib import Path

import pytest
import torch

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.model.checkpoint import random_checkpoint
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.hmlp import FOLDS
from microturn.model.model import InteractionModel
from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import count, meta_model
from microturn.model.plan.flops import forward_flops, mean_reach
from microturn.model.plan.parallel_layout import available, choose, layouts
from microturn.model.plan.plan import plan
from microturn.model.streams import StreamLayout
from microturn.model.streams.layout import PATCH_SIZE
from microturn.training.config import OptimConfig
from microturn.training.optim import build_optimizer

SIZES = ["model/tiny.yaml", "model/small.yaml", "model/base.yaml"]


def test_tml_small_is_what_was_announced(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    assert main(["plan", "model/tml_small.yaml", "gpus=512", f"json={target}"]) == 0
    result = json.loads(target.read_text())
    assert result["parameters_total"] == pytest.approx(276e9, rel=0.02)
    assert result["parameters_active"] == pytest.approx(12e9, rel=0.02)
    ways = result["parallel"]
    assert ways["data"] * ways["tensor"] == 512
    assert result["memory_per_gpu"]["total"] < result["memory_per_gpu"]["available"]
    # The rule of thumb: 6 operations per active weight and position, tables aside.
    per_position = result["flops_per_micro_turn"]["training"]["forward_and_backward"] / 62
    assert per_position == pytest.approx(6 * 11.0e9, rel=0.1)
    assert result["tokens_per_s"] == pytest.approx(512 * 989e12 * 0.35 / per_position)


@pytest.mark.parametrize("file", SIZES)
def test_parts_add_up_to_the_module(file: str) -> None:
    config = load_config(PlanConfig, [file])
    model = meta_model(config.model, config.layout, config.vocab_size)
    counts = count(model)
    assert counts.total == sum(p.numel() for p in model.parameters())
    assert counts.total == sum(total for total, _ in counts.parts.values())
    assert all(active <= total for total, active in counts.parts.values())
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_base_is_about_a_billion() -> None:
    result = plan(load_config(PlanConfig, ["model/base.yaml"], ["gpus=8"]))
    assert result["parameters_total"] == pytest.approx(1e9, rel=0.1)


def test_states_and_caches_are_those_of_the_real_ones() -> None:
    """What the optimiser would hold, and what a session holds, on a small real model."""
    config = ModelConfig(n_layers=3, global_every=2, global_window=90, n_sinks=2)
    ck = random_checkpoint(0, layout=StreamLayout(), config=config)
    counts = count(ck.model)
    optimizer = build_optimizer(ck.model, OptimConfig())
    matrices = [p for g in optimizer.param_groups if g["muon"] for p in g["params"]]
    assert counts.matrices == sum(p.numel() for p in matrices) > 0
    state = ck.model.init_state(1).backbone
    assert counts.cache == sum(c.k.numel() + c.v.numel() for c in state.layers)


@pytest.mark.parametrize("video", [0, 2])
def test_flops_are_those_that_run(video: int) -> None:
    """As torch counts them; it does not count fused attention on a CPU."""
    from torch.utils.flop_counter import FlopCounterMode

    cfg = ModelConfig(n_layers=3, d_model=64, n_heads=4, n_kv_heads=2, d_ff=96, window=50)
    layout = StreamLayout(video_rows=video, video_cols=video)
    ck = random_checkpoint(0, layout=layout, config=cfg)
    n = 5
    counted = forward_flops(cfg, layout, 100, n, training=True)
    x = torch.randn(1, n * layout.n_positions, cfg.d_model)
    with FlopCounterMode(display=False) as counter:
        ck.model.backbone(x)
    matrices = sum(counted[k] for k in ("projections", "dense", "experts"))
    assert counter.get_total_flops() / n == pytest.approx(matrices)
    reach = (n * layout.n_positions + 1) / 2  # all of it is within the window
    attention = 4 * layout.n_positions * cfg.d_model * reach * cfg.n_layers
    assert counted["attention"] == pytest.approx(attention)
    if video:
        frames = torch.zeros(1, 1, *(PATCH_SIZE * video,) * 2, 3, dtype=torch.uint8)
        with FlopCounterMode(display=False) as counter:
            assert ck.model.embed.video is not None
            ck.model.embed.video(frames)
        assert counter.get_total_flops() == pytest.approx(counted["video"])


def test_flow_head_flops_are_those_that_run() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    ck = random_checkpoint(0, layout=StreamLayout(), config=ModelConfig())
    cfg, size = ck.model.cfg, ck.layout.patch_dim
    counted = forward_flops(cfg, ck.layout, 100, 5, training=False)["flow"]
    N = 64
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        patch = ck.model.flow.sample(
            torch.randn(N, 160), torch.randn(N, size), torch.randn(N, size)
        )
        ck.model.embed.patch(patch)
    per_turn = counter.get_total_flops() / N * ck.layout.audio_out_positions
    assert per_turn == pytest.approx(counted, rel=0.02)


def test_mean_reach_is_what_a_mask_leaves() -> None:
    for T, reach in ((1, 4), (7, 3), (5, 5), (4, 90)):
        kept = [min(t + 1, reach) for t in range(T)]
        assert mean_reach(T, reach) == pytest.approx(sum(kept) / T)


def test_folds_are_those_of_a_patch() -> None:
    side = PATCH_SIZE
    for fold in FOLDS:
        assert side % fold == 0
        side //= fold
    assert side == 1


def test_the_way_taken_fits_and_none_that_fits_has_less_traffic() -> None:
    config = load_config(PlanConfig, ["model/base.yaml"], ["gpus=16", "machine.memory_gb=6"])
    counts = count(meta_model(config.model, config.layout, config.vocab_size))
    way = choose(config, counts)
    assert way.bytes <= available(config)
    assert way.data * way.tensor == 16
    for other in layouts(config, counts):
        assert other.seconds >= way.seconds or other.bytes > available(config)
    less = [w.memory["activations"] for w in layouts(config, counts)]
    config = load_config(PlanConfig, ["model/base.yaml"], ["gpus=16", "checkpointing=false"])
    assert min(w.memory["activations"] for w in layouts(config, counts)) > min(less)


def test_a_dense_model_has_no_experts_to_spread() -> None:
    result = plan(PlanConfig(gpus=4, model=ModelConfig(moe=MoEConfig(n_experts=0))))
    assert result["parallel"]["expert"] == 1
    assert result["parameters_total"] == result["parameters_active"]
    assert result["traffic_per_step"]["to experts"]["bytes"] == 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["gpus=0"], 2, "gpus=0 must be at least 1"),
        (["gpus=two"], 2, "gpus"),
        (["mfu=1.5"], 2, "mfu=1.5 must lie in (0, 1]"),
        (["vocab_size=0"], 2, "vocab_size=0 must be at least 1"),
        (["machine.tflops=0"], 2, "machine.tflops=0.0 must be above 0"),
        (["model.n_heads=31"], 2, "n_heads=31"),
        (["model.video_channels=[8]"], 2, "model.video_channels=[8] must have 3 widths"),
        (["model.moe.d_expert=12"], 2, "d_expert=12"),
        (["gpus=8"], 1, "does not fit: the leanest layout"),
        (["gpus=512", "batch_size=100"], 1, "batch_size=100 cannot be dealt evenly to 512 GPUs"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "model/tml_small.yaml", *words]) == code
    assert sentence in capsys.readouterr().err


def test_the_text_says_what_the_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "model/tiny.yaml"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("parameters 4.26 M, active 3.43 M")
    for part in ("routed experts", "memory per GPU", "traffic per GPU", "session cache"):
        assert part in said
    assert main(["plan", "model/tiny.yaml", "json=-"]) == 0
    assert json.loads(capsys.readouterr().out)["parallel"]["data"] == 1


def test_counts_refuse_what_they_do_not_know() -> None:
    model = meta_model(ModelConfig(), StreamLayout(), 64)
    assert isinstance(model, InteractionModel)
    model.register_parameter("stranger", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(ValueError, match="the parameter stranger"):
        count(model)
