"""Everything learns: all options on, one batch to the words, the same curve as ever."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.losses import compute_losses
from microturn.model.model import InputTensors, InteractionModel
from microturn.model.streams import StreamLayout
from microturn.model.vocoders.config import VocoderConfig

GOLDEN = Path(__file__).parent / "golden"
SMALL = ModelConfig(
    d_model=48,
    n_layers=2,
    n_heads=4,
    d_ff=64,
    window=8,
    moe=MoEConfig(n_experts=4, d_expert=16),
    flow=FlowConfig(width=32, depth=2, steps=2),
)
EVERYTHING = replace(
    SMALL,
    n_layers=3,
    n_kv_heads=2,
    window=3,
    n_sinks=2,
    global_every=3,
    global_window=6,
    video_channels=(8, 16, 24),
    vocoder=VocoderConfig(kind="istft", width=16, layers=2),
)
GROUPED = StreamLayout(audio_in_group=2, video_rows=1, video_cols=2)


def random_batch(ck: LoadedCheckpoint, B: int, N: int) -> LaneBatch:
    g = torch.Generator().manual_seed(0)
    layout, V = ck.layout, len(ck.tokenizer)
    sizes = layout.lane_sizes

    def draw(high: int, *shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return torch.randint(0, high, (B, N, *shape), generator=g, dtype=dtype)

    lanes = {"audio_in": draw(16, layout.frames_per_micro_turn, 80, dtype=torch.uint8)}
    missing_input = torch.rand(B, N, generator=g) < 0.2
    lanes |= {name: draw(V, sizes[name]) for name in ("text_in", "heard", "say")}
    lanes["audio_out"] = draw(256, layout.fine_frames_per_micro_turn, 80, dtype=torch.uint8)
    if sizes["video"]:
        lanes["video"] = draw(256, *layout.lane("video").shape, dtype=torch.uint8)
    weights = {name: torch.ones(B, N, sizes[name]) for name in ("heard", "say", "audio_out")}
    return LaneBatch(lanes=lanes, weights=weights, missing_input=missing_input)


def losses_of(ck: LoadedCheckpoint, batch: LaneBatch, steps: int) -> list[dict[str, float]]:
    """Plain AdamW on one batch; the losses before each step."""
    ck.model.train()
    optimizer = torch.optim.AdamW(ck.model.parameters(), lr=5e-3, weight_decay=0.0)
    curve = []
    for _ in range(steps):
        parts = compute_losses(ck.model, batch)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        curve.append({name: float(value.detach()) for name, value in parts.items()})
    return curve


def test_gradient_reaches_every_parameter_with_all_options_on() -> None:
    """But for the vocoder, which has a loss of its own."""
    ck = random_checkpoint(5, layout=GROUPED, config=EVERYTHING)
    ck.model.train()
    torch.manual_seed(0)
    compute_losses(ck.model, random_batch(ck, 4, 12))["loss"].backward()
    named = [(n, p) for n, p in ck.model.named_parameters() if not n.startswith("vocoder.")]
    assert [n for n, p in named if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for _, p in named if p.grad is not None)


@pytest.mark.filterwarnings("ignore")  # torch's own, while it traces
def test_traced_blocks_have_the_same_gradients() -> None:
    """As `compile=true` traces them, without the compiler behind it."""
    ck = random_checkpoint(5, layout=GROUPED, config=EVERYTHING)
    ck.model.train()
    batch, found = random_batch(ck, 2, 6), []
    for _ in range(2):
        torch.manual_seed(0)
        ck.model.zero_grad()
        compute_losses(ck.model, batch)["loss"].backward()
        found.append({n: p.grad for n, p in ck.model.named_parameters() if p.grad is not None})
        for block in ck.model.blocks_to_compile():
            block.compile(backend="aot_eager", dynamic=False)
    plain, traced = found
    assert plain.keys() == traced.keys()
    for name, grad in plain.items():
        difference = float((grad - traced[name]).norm() / grad.norm())
        assert difference < 1e-5, name


def test_one_batch_is_learnt_to_the_words() -> None:
    """Streamed with its own voice in its ear, the model says what it was shown, word for word."""
    ck = random_checkpoint(6, config=replace(SMALL, n_sinks=2))
    batch = random_batch(ck, 2, 8)
    torch.manual_seed(0)
    curve = losses_of(ck, batch, 150)
    assert curve[-1]["say"] < 0.05 * curve[0]["say"]
    assert curve[-1]["heard"] < 0.05 * curve[0]["heard"]
    ck.model.eval()
    state = ck.model.init_state(2)
    noise = torch.zeros(2, ck.layout.audio_out_positions, ck.layout.patch_dim)
    with torch.no_grad():
        for k in range(8):
            given = {name: batch[name][:, k] for name in ("audio_in", "text_in")}
            inputs = InputTensors(given, batch.missing_input[:, k])
            out, state = ck.model.step(inputs, state, noise)
            for name in ("heard", "say"):
                assert torch.equal(out.tokens[name], batch[name][:, k]), (name, k)


@pytest.mark.parametrize(
    ("name", "config", "layout"),
    [("plain", SMALL, TINY_LAYOUT), ("everything", EVERYTHING, GROUPED)],
    ids=["plain", "everything"],
)
def test_the_loss_falls_along_the_same_curve_as_ever(
    name: str, config: ModelConfig, layout: StreamLayout
) -> None:
    """Twelve steps from a fixed seed. After a change that is meant to move it: write it anew."""
    ck = random_checkpoint(7, layout=layout, config=config)
    torch.manual_seed(0)
    curve = losses_of(ck, random_batch(ck, 2, 10), 12)
    golden = json.loads((GOLDEN / "loss.json").read_text())[name]
    for part in ("heard", "say", "flow", "z"):
        got = [step[part] for step in curve]
        assert got == pytest.approx(golden[part], rel=2e-3), part


@pytest.mark.parametrize(
    ("name", "config", "layout"),
    [("tiny", ModelConfig(), TINY_LAYOUT), ("everything", EVERYTHING, GROUPED)],
    ids=["tiny", "everything"],
)
def test_a_checkpoint_has_the_keys_that_it_always_had(
    name: str, config: ModelConfig, layout: StreamLayout
) -> None:
    """Renaming one of them would make every checkpoint there is unreadable."""
    with torch.device("meta"):
        model = InteractionModel(config, layout, 64)
    keys = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert keys == json.loads((GOLDEN / "checkpoint_keys.json").read_text())[name]
