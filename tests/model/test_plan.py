"""`microturn plan`: counts are the module's own, the arithmetic adds up, errors are sentences."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, UntypedStorage, nn

from microturn.configs.load import load_config, save_config
from microturn.configs.main import main
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.model.plan.activations import audio_stem, block
from microturn.model.plan.config import PlanConfig
from microturn.model.plan.count import count, meta_model
from microturn.model.plan.flops import audio_stem_flops, forward_flops, mean_reach, muon_flops
from microturn.model.plan.parallel_layout import available, choose, layouts
from microturn.model.plan.plan import plan
from microturn.model.stems.hmlp import FOLDS
from microturn.model.streams import StreamLayout
from microturn.model.streams.layout import PATCH_SIZE
from microturn.training.config import OptimConfig, ParallelConfig, TrainingConfig
from microturn.training.optim import build_optimizer, orthogonalise

SIZES = ["model/tiny.yaml", "model/small.yaml", "model/base.yaml"]


def test_tml_small_is_what_was_announced(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    assert main(["plan", "model/tml_small.yaml", "gpus=512", f"json={target}"]) == 0
    result = json.loads(target.read_text())
    assert result["parameters_total"] == pytest.approx(276e9, rel=0.02)
    assert result["parameters_active"] == pytest.approx(12e9, rel=0.02)
    ways = result["parallel"]
    assert ways["data"] * ways["shard"] * ways["expert"] == 512
    assert result["memory_per_gpu"]["peak"] < result["memory_per_gpu"]["available"]
    # The rule of thumb: 6 operations per active weight and position, tables aside.
    per_position = result["flops_per_micro_turn"]["training"]["forward_and_backward"] / 62
    assert per_position == pytest.approx(6 * 11.0e9, rel=0.1)
    # A third more for what is computed again, and the optimiser.
    passes = 4 / 3 * per_position / (512 * 989e12 * 0.35)
    assert 1 / result["tokens_per_s"] == pytest.approx(passes, rel=0.1)
    work = result["flops_per_step_and_gpu"]
    assert result["step"]["seconds"] == pytest.approx(sum(work.values()) / (989e12 * 0.35))


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

    sizes = {"d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "window": 50}
    cfg = ModelConfig(n_layers=4, n_attention_only=1, **sizes)
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


def test_flops_of_the_stem_of_sound_are_those_that_run() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    cfg = ModelConfig(audio_channels=(24, 48, 96))
    embed = random_checkpoint(0, layout=TINY_LAYOUT, config=cfg).model.embed.dmel
    sound = torch.zeros(1, 3, TINY_LAYOUT.frames_per_micro_turn, 80, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        assert embed.stem is not None
        embed.stem(sound)
    assert counter.get_total_flops() / 3 == pytest.approx(audio_stem_flops(cfg, TINY_LAYOUT))


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
    config = load_config(PlanConfig, ["model/base.yaml"], ["gpus=16", "machine.memory_gb=20"])
    counts = count(meta_model(config.model, config.layout, config.vocab_size))
    way = choose(config, counts)
    assert way.bytes <= available(config)
    assert way.data * way.shard * way.expert == 16
    for other in layouts(config, counts):
        assert other.seconds >= way.seconds or other.bytes > available(config)
    less = [w.memory["activations"] for w in layouts(config, counts)]
    config = load_config(
        PlanConfig, ["model/base.yaml"], ["gpus=16", "activation_checkpointing=false"]
    )
    assert min(w.memory["activations"] for w in layouts(config, counts)) > min(less)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("model/tiny.yaml", []),
        ("model/small.yaml", ["gpus=6", "machine.memory_gb=3"]),
        ("model/base.yaml", ["gpus=8", "batch_size=64", "accumulate=2", "precision=32"]),
        ("model/base.yaml", ["gpus=16", "machine.memory_gb=20"]),
        ("model/tml_small.yaml", ["gpus=512"]),
        ("model/tml_small.yaml", ["gpus=2048", "accumulate=1"]),
    ],
)
def test_train_accepts_what_the_plan_prints(
    file: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", file, *words]) == 0
    said = capsys.readouterr().out
    printed = said.split("as keys of microturn train:\n")[1].split("\n  data")[0]
    config = load_config(PlanConfig, [file], words)
    model = tmp_path / "model.yaml"
    save_config(model, TrainingModel(model=config.model))
    keys = printed.replace("\\\n", " ").split()
    read = load_config(TrainingConfig, [str(model)], ["data=SET", "out=RUN", *keys])
    assert read.n_devices == config.gpus
    assert read.batch_size == config.dialogues
    assert read.parallel == read.parallel.on(config.gpus)  # nothing is left to be guessed
    assert read.model == config.model


@dataclass(frozen=True, kw_only=True)
class TrainingModel:
    """The section of a configuration of `train` that says what is trained."""

    model: ModelConfig


def test_every_layout_is_one_that_train_accepts() -> None:
    config = load_config(PlanConfig, ["model/base.yaml"], ["gpus=24"])
    counts = count(meta_model(config.model, config.layout, config.vocab_size))
    ways = layouts(config, counts)
    assert len(ways) == len({(w.data, w.shard, w.expert) for w in ways}) > 10
    for way in ways:
        parallel = ParallelConfig(data=way.data, shard=way.shard, expert=way.expert)
        read = TrainingConfig(
            data="SET", out="RUN", model=config.model, nodes=3, devices=8, batch_size=24,
            parallel=parallel,
        )  # fmt: skip
        assert read.parallel.on(24) == parallel


def test_states_by_hand() -> None:
    """Sixteen numbers for a vector's weight, twelve for a matrix's; a group shares them."""
    config = load_config(PlanConfig, ["model/base.yaml"], ["gpus=8"])
    counts = count(meta_model(config.model, config.layout, config.vocab_size))
    ways = {(w.shard, w.expert): w.memory for w in layouts(config, counts)}
    states = {
        way: sum(m[k] for k in ("weights", "gradients", "optimizer")) for way, m in ways.items()
    }
    whole = 16 * counts.total - 4 * counts.matrices
    assert states[1, 1] == whole
    assert states[8, 1] == states[1, 8] == states[2, 4] == pytest.approx(whole / 8)
    # 40 experts over 16 GPUs: the fullest keeps three of them, and not two and a half.
    config = load_config(PlanConfig, ["model/base.yaml"], ["gpus=16"])
    weights = {(w.shard, w.expert): w.memory["weights"] for w in layouts(config, counts)}
    assert weights[16, 1] == 4 * (3 / 40 * counts.routed + (counts.total - counts.routed) / 16)


def test_traffic_by_hand() -> None:
    words = ["gpus=16", "batch_size=32", "micro_turns=10"]
    config = load_config(PlanConfig, ["model/base.yaml"], words)
    counts = count(meta_model(config.model, config.layout, config.vocab_size))
    way = next(w for w in layouts(config, counts) if (w.shard, w.expert) == (2, 4))
    others = counts.total - counts.routed
    # Gathered twice, scattered once, four bytes each; seven eighths come from other GPUs.
    assert way.traffic["gather and scatter"][0] == 12 * others * 7 / 8
    assert way.traffic["gather and scatter experts"][0] == 12 * counts.routed / 4 / 2
    assert way.traffic["sum over groups"][0] == pytest.approx(8 * counts.total / 8 / 2)
    # Two dialogues of ten micro-turns of fourteen positions, to four experts and back, in bf16,
    # forward, again and backward, in fifteen layers; three quarters are elsewhere.
    rows = 2 * 10 * 14 * 4
    assert way.traffic["to experts"][0] == 2 * 3 * 15 * 2 * rows * 1024 * 3 / 4
    rates = {name: size / seconds for name, (size, seconds) in way.traffic.items()}
    assert rates == pytest.approx(dict.fromkeys(rates, 450000000000.0) | {"sum over groups": 50e9})


def bytes_kept(module: nn.Module, call: Callable[[], object]) -> int:
    """Count what autograd keeps of a call beside the module's own weights."""
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("n", [40, 100])
@pytest.mark.parametrize("file", ["model/tiny.yaml", "model/small.yaml"])
def test_activations_are_those_that_autograd_keeps(file: str, n: int) -> None:
    words = ["accelerator=cpu", "precision=32", f"micro_turns={n}", "model.n_layers=3"]
    config = load_config(PlanConfig, [file], words)
    model = InteractionModel(config.model, config.layout, config.vocab_size)
    B, T = 4, n * config.layout.n_positions
    x = torch.randn(B, T, config.model.d_model, requires_grad=True)
    counted = bytes_kept(model, lambda: model.backbone(x)) / (B * T)
    blocks = [block(config, layer).bytes(config) for layer in range(3)]
    norms = 2 * 4 * config.model.d_model
    assert sum(blocks) + norms == pytest.approx(counted, rel=0.05)


def test_activations_of_the_stem_of_sound_are_those_that_autograd_keeps() -> None:
    words = ["accelerator=cpu", "precision=32", "model.audio_channels=[32,64,160]"]
    config = load_config(PlanConfig, ["model/tiny.yaml"], words)
    stem = InteractionModel(config.model, config.layout, config.vocab_size).embed.dmel.stem
    assert stem is not None
    n = 50
    shape = (n, config.layout.frames_per_micro_turn, config.layout.n_mels)
    sound = torch.zeros(shape, dtype=torch.uint8)
    counted = bytes_kept(stem, lambda: stem(sound)) / n
    assert audio_stem(config).bytes(config) == pytest.approx(counted, rel=0.05)


def test_muon_flops_are_those_that_run() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for shape in ((6, 10), (3, 24, 8)):
        with FlopCounterMode(display=False) as counter:
            orthogonalise(torch.randn(shape))
        assert counter.get_total_flops() == muon_flops(shape)


HOURS = ["model/tml_small.yaml", "gpus=512"]


def conversations(*words: str) -> list[dict[str, float]]:
    result = plan(load_config(PlanConfig, [HOURS[0]], ["gpus=512", *words]))
    rows: list[dict[str, float]] = result["conversations"]
    return rows


def test_a_row_of_conversations_by_hand() -> None:
    result = plan(load_config(PlanConfig, [HOURS[0]], ["gpus=512", "conversations.hours=[8000]"]))
    (row,) = result["conversations"]
    assert row["dialogues"] == 480_000  # of a minute
    assert row["positions"] == 8000 * 3600 * 5 * 62
    assert row["steps"] == 235  # of 2,048 dialogues
    assert row["simulation_cpu_hours"] == pytest.approx(8000 / 644)
    assert row["shard_bytes"] == pytest.approx(8000 * 3600 * 27_800)
    step_s = max(result["step"]["seconds"], result["traffic_seconds"])
    assert row["gpu_hours"] == pytest.approx(512 * 235 * step_s / 3600)
    assert row["states"] == int(235 * step_s / 3600) + 1
    assert row["state_bytes"] == row["states"] * result["state_bytes"]
    # Weights and one number for a matrix, two for all else, in fp32: 8.05 bytes for a parameter.
    assert result["state_bytes"] == pytest.approx(8.03 * result["parameters_total"], rel=0.01)


def test_more_hours_cost_more() -> None:
    rows = conversations("conversations.hours=[8000,20000,100000,1000000]")
    for less, more in pairwise(rows):
        assert all(more[name] > less[name] for name in less)
    (once,) = conversations("conversations.hours=[100000]")
    (twice,) = conversations("conversations.hours=[100000]", "conversations.epochs=2")
    assert twice["gpu_hours"] == pytest.approx(2 * once["gpu_hours"], rel=1e-3)
    assert twice["shard_bytes"] == once["shard_bytes"]


def test_a_cpu_needs_no_tensor_cores() -> None:
    words = ["accelerator=cpu", "machine.tflops=0.1", "precision=32"]
    result = plan(load_config(PlanConfig, ["model/tiny.yaml"], words))
    work = result["flops_per_step_and_gpu"]
    passes = sum(work.values()) - work["optimizer"]
    seconds = (passes / 0.58 + work["optimizer"] / 0.95) / 1e11
    assert result["step"]["seconds"] == pytest.approx(seconds)


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
        (["utilisation=1.5"], 2, "utilisation=1.5 must lie in [0, 1]"),
        (["mfu=0.4"], 2, "utilisation"),
        (["precision=fp8"], 2, "precision=fp8 is none of bf16, 32"),
        (["gpus=12"], 2, "gpus=12 must be whole nodes of machine.node_gpus=8"),
        (["conversations.hours=[10,-1]"], 2, "conversations.hours=[10.0, -1.0] must be above 0"),
        (["conversations.kb_per_s=0"], 2, "conversations.kb_per_s=0.0 must be above 0"),
        (["vocab_size=0"], 2, "vocab_size=0 must be at least 1"),
        (["machine.tflops=0"], 2, "machine.tflops=0.0 must be above 0"),
        (["model.n_heads=31"], 2, "n_heads=31"),
        (["model.video_channels=[8]"], 2, "model.video_channels=[8] must have 3 widths"),
        (["model.moe.d_expert=12"], 2, "d_expert=12"),
        (["gpus=8"], 1, "does not fit: the leanest layout"),
        (["gpus=512", "batch_size=100"], 2, "batch_size=100 must be a multiple of gpus x accum"),
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
    parts = ("routed experts", "memory per GPU", "traffic per GPU", "session cache", "devices=1")
    for part in parts:
        assert part in said
    assert main(["plan", "model/tiny.yaml", "json=-"]) == 0
    assert json.loads(capsys.readouterr().out)["parallel"]["data"] == 1


def test_counts_refuse_what_they_do_not_know() -> None:
    model = meta_model(ModelConfig(), StreamLayout(), 64)
    assert isinstance(model, InteractionModel)
    model.register_parameter("stranger", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(ValueError, match="the parameter stranger"):
        count(model)
