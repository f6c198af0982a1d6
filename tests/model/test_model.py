"""The model: causal, whole dialogue = micro-turn by micro-turn, rows independent, trainable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.kernels.experts import experts_grouped, experts_reference
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import (
    TINY_LAYOUT,
    LoadedCheckpoint,
    load_checkpoint,
    random_checkpoint,
    save_checkpoint,
)
from microturn.model.choice import choose_token, draw_token
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.losses import compute_losses
from microturn.model.model import InputTensors
from microturn.model.moe import MixtureOfExperts, balance_
from microturn.model.streams import StreamLayout

WIDE = StreamLayout()  # several positions per lane
LAYOUTS = [pytest.param(TINY_LAYOUT, id="tiny"), pytest.param(WIDE, id="default")]


def random_batch(ck: LoadedCheckpoint, B: int, N: int, seed: int = 0) -> LaneBatch:
    g = torch.Generator().manual_seed(seed)
    sizes, V = ck.layout.lane_sizes, len(ck.tokenizer)

    def tokens(lane: str) -> torch.Tensor:
        return torch.randint(0, V, (B, N, sizes[lane]), generator=g)

    frames, fine = ck.layout.frames_per_micro_turn, ck.layout.fine_frames_per_micro_turn
    audio_in = torch.randint(0, 16, (B, N, frames, 80), generator=g, dtype=torch.uint8)
    missing_input = torch.rand(B, N, generator=g) < 0.2
    words = {name: tokens(name) for name in ("text_in", "heard", "say")}
    audio_out = torch.randint(0, 256, (B, N, fine, 80), generator=g, dtype=torch.uint8)
    return LaneBatch(
        lanes={"audio_in": audio_in, **words, "audio_out": audio_out},
        weights={name: torch.ones(B, N, sizes[name]) for name in ("heard", "say", "audio_out")},
        missing_input=missing_input,
    )


def stream(ck: LoadedCheckpoint, batch: LaneBatch) -> LaneBatch:
    """Run `step` over the inputs of a batch; returns what was produced as lanes."""
    B, N = batch.shape
    state = ck.model.init_state(B)
    noise = torch.zeros(B, ck.layout.audio_out_positions, ck.layout.patch_dim)
    heard, say, patches = [], [], []
    with torch.no_grad():
        for n in range(N):
            given = {name: batch[name][:, n] for name in ("audio_in", "text_in")}
            inputs = InputTensors(given, batch.missing_input[:, n])
            out, state = ck.model.step(inputs, state, noise)
            heard.append(out.tokens["heard"])
            say.append(out.tokens["say"])
            patches.append(out.log_mel)
    made = {
        "heard": torch.stack(heard, 1),
        "say": torch.stack(say, 1),
        "audio_out": torch.stack(patches, 1),
    }
    return replace(batch, lanes={**batch.lanes, **made})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_steps_equal_the_whole_dialogue_beyond_the_window(layout: StreamLayout) -> None:
    """Streaming chose the tokens of the one-shot forward over the same lanes."""
    ck = random_checkpoint(1, layout=layout)
    ck.model.mel_mean.fill_(-1.0)  # far from both ends of what log_mel clamps to: nothing is lost
    ck.model.mel_std.fill_(0.5)
    N = 3 * ck.model.cfg.window
    batch = random_batch(ck, 2, N)
    done = stream(ck, batch)
    normal = (done["audio_out"] - ck.model.mel_mean) / ck.model.mel_std
    patches = normal.flatten(-2).unflatten(-1, (layout.audio_out_positions, -1))
    with torch.no_grad():
        hidden = ck.model(done, patches)
        for lane in ("heard", "say"):
            logits = ck.model.unembed(hidden[lane])
            words = logits[..., 1:].topk(2, dim=-1).values  # idle is never half of random weights
            clear = words[..., 0] - words[..., 1] > 1e-3
            assert clear.float().mean() > 0.9
            chosen = choose_token(logits, ck.model.cfg.start_at)
            assert torch.equal(chosen[clear], done[lane][clear]), lane


def test_a_word_is_chosen_where_all_words_together_are_likely_enough() -> None:
    share = torch.full((20,), 0.6 / 18)
    share[0], share[7] = 0.4 - 0.6 / 18, 2 * 0.6 / 18  # idle is far more likely than any word
    assert choose_token(share.log(), 0.5) == 7
    assert choose_token(share.log(), 0.7) == 0
    assert choose_token(torch.stack([share.log(), share.log() * 3]), 0.5).tolist() == [7, 0]


def test_a_voice_begins_by_likelihood_and_goes_on_by_chance() -> None:
    shares = torch.tensor([0.4, 0.1, 0.3, 0.2])

    def drawn(*, start_at: float, sounding: bool, temperature: float = 1.0) -> torch.Tensor:
        uniform = (torch.arange(1000) + 0.5) / 1000
        return draw_token(
            shares.log().expand(1000, 4),
            start_at,
            temperature=temperature,
            uniform=uniform,
            sounding=torch.full((1000,), sounding),
        ).bincount(minlength=4)

    assert drawn(start_at=0.7, sounding=False).tolist() == [1000, 0, 0, 0]
    words = drawn(start_at=0.5, sounding=False)
    assert words.tolist() == pytest.approx([0, 1000 / 6, 500, 2000 / 6], abs=2)
    assert drawn(start_at=0.7, sounding=True).tolist() == pytest.approx([400, 100, 300, 200], abs=2)
    assert drawn(start_at=0.5, sounding=False, temperature=0.01).tolist() == [0, 0, 1000, 0]


def test_the_voice_sounds_where_a_band_is_audible() -> None:
    model = random_checkpoint(0).model
    silence = model.silent_patch(2)
    louder = silence.clone()
    louder[1, 3] += 1.5 / model.mel_std[3]  # log10 magnitudes above the floor of -4
    assert model.is_sounding(silence).tolist() == [False, False]
    assert model.is_sounding(louder).tolist() == [False, True]


def test_backbone_steps_of_any_size_equal_forward() -> None:
    ck = random_checkpoint(2)
    backbone = ck.model.backbone
    x = torch.randn(2, 4 * backbone.reaches[0], ck.model.cfg.d_model)
    with torch.no_grad():
        whole = backbone(x)
        state = backbone.init_state(2, device=x.device, dtype=x.dtype)
        parts, start, sizes = [], 0, [1, 3, 5, 2]
        while start < x.shape[1]:
            size = min(sizes[len(parts) % 4], x.shape[1] - start)
            y, state = backbone.step(x[:, start : start + size], state)
            parts.append(y)
            start += size
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-5, rtol=1e-4)


def test_nothing_depends_on_the_future() -> None:
    ck = random_checkpoint(3)
    batch = random_batch(ck, 1, 10)
    with torch.no_grad():
        patches = ck.model.patches(batch["audio_out"])
        before = ck.model(batch, patches)
        batch["audio_in"][:, 6:] = 0
        batch["say"][:, 6:] = 1
        patches[:, 6:] = 0
        after = ck.model(batch, patches)
    for lane, hidden in before.items():
        torch.testing.assert_close(after[lane][:, :6], hidden[:, :6], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after["heard"][:, 6], before["heard"][:, 6])


def test_rows_do_not_see_each_other() -> None:
    ck = random_checkpoint(4)
    batch = random_batch(ck, 3, 6)
    alone = batch.row(1)
    together, single = stream(ck, batch), stream(ck, alone)
    assert torch.equal(together["say"][1:2], single["say"])
    torch.testing.assert_close(
        together["audio_out"][1:2], single["audio_out"], atol=1e-4, rtol=1e-4
    )


def test_gradient_reaches_every_parameter() -> None:
    ck = random_checkpoint(5)
    ck.model.train()
    torch.manual_seed(0)
    batch = random_batch(ck, 4, 12)
    compute_losses(ck.model, batch)["loss"].backward()
    missing = [n for n, p in ck.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_one_batch_is_learnt_by_heart() -> None:
    from microturn.training.config import OptimConfig
    from microturn.training.optim import build_optimizer

    ck = random_checkpoint(6)
    ck.model.train()
    batch = random_batch(ck, 1, 8)
    torch.manual_seed(0)
    optimizer = build_optimizer(ck.model, OptimConfig())
    first = last = None
    for _ in range(60):
        parts = compute_losses(ck.model, batch)
        parts["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        last = {k: float(v.detach()) for k, v in parts.items()}
        first = first or last
    assert first is not None
    assert last is not None
    assert last["say"] < 0.1 * first["say"]
    assert last["heard"] < 0.1 * first["heard"]
    assert last["flow"] < 0.5 * first["flow"]


@pytest.mark.parametrize("counts", ["even", "one expert idle"])
def test_grouped_experts_equal_the_reference(counts: str) -> None:
    torch.manual_seed(0)
    N, K, E, D, F = 40, 2, 4, 16, 8
    x, up, down = torch.randn(N, D), torch.randn(E, D, 2 * F) / 4, torch.randn(E, F, D) / 3
    ids = torch.rand(N, E - (counts != "even")).topk(K).indices
    w = torch.rand(N, K)
    reference = experts_reference(x, ids, w, up, down)
    grouped = experts_grouped(x, ids, w, up, down)
    error = (grouped - reference).norm() / reference.norm()
    assert error < 1e-2  # bf16 operands


def test_router_bias_moves_load_to_idle_experts() -> None:
    torch.manual_seed(0)
    moe = MixtureOfExperts(16, MoEConfig(n_experts=4, top_k=1, d_expert=8, bias_speed=0.02))
    torch.nn.init.normal_(moe.up)
    torch.nn.init.normal_(moe.down)
    x = torch.randn(256, 16) + 1.0
    imbalance = []
    for _ in range(80):
        moe(x)
        (load,) = balance_([moe])
        imbalance.append(float(load.max() / load.mean()))
    assert imbalance[-1] < 0.7 * imbalance[0]
    assert abs(float(moe.selection_bias.sum())) < 1e-4


def test_routers_are_balanced_together_as_alone_and_frozen_ones_hold_still() -> None:
    cfg = MoEConfig(n_experts=5, top_k=1, d_expert=8, bias_speed=0.02)
    routers = [MixtureOfExperts(16, cfg) for _ in range(3)]
    routers[1].router.weight.requires_grad_(False)
    loads = torch.tensor([[4.0, 1, 1, 3, 1], [9, 0, 0, 0, 1], [2, 2, 2, 2, 2]])
    for router, load in zip(routers, loads, strict=True):
        router.load.copy_(load)
    assert torch.equal(balance_(routers), loads)
    assert not any(router.load.any() for router in routers)
    sign = torch.tensor([-1.0, 1, 1, -1, 1])
    assert torch.allclose(routers[0].selection_bias, 0.02 * (sign - sign.mean()))
    assert not routers[1].selection_bias.any()
    assert not routers[2].selection_bias.any()


def test_checkpoint_round_trip_and_its_errors(tmp_path: Path) -> None:
    ck = random_checkpoint(7)
    save_checkpoint(tmp_path, ck.model, ck.tokenizer)
    back = load_checkpoint(tmp_path)
    for name, value in ck.model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], value), name
    assert back.layout == ck.layout
    with pytest.raises(FileNotFoundError, match="no checkpoint folder"):
        load_checkpoint(tmp_path / "nowhere")
    other = random_checkpoint(0, config=ModelConfig(d_model=24, n_heads=2, n_layers=1, d_ff=32))
    save_checkpoint(tmp_path / "other", other.model, other.tokenizer)
    (tmp_path / "model.safetensors").write_bytes(
        (tmp_path / "other" / "model.safetensors").read_bytes()
    )
    with pytest.raises(ValueError, match="does not fit"):
        load_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="damaged weights file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (MoEConfig, {"top_k": 9}, "top_k=9"),
        (MoEConfig, {"d_expert": 9}, "multiple of 8"),
        (FlowConfig, {"steps": 0}, "at least 1"),
        (ModelConfig, {"n_heads": 3}, "n_heads=3"),
        (ModelConfig, {"n_kv_heads": 2}, "n_kv_heads=2"),
        (ModelConfig, {"window": 0}, "window=0"),
    ],
)
def test_impossible_sizes_are_refused(kind: type, values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_flow_head_learns_a_conditional_distribution() -> None:
    """Two conditions, two targets: samples land on the right one."""
    from microturn.model.flow_head import FlowHead

    torch.manual_seed(0)
    head = FlowHead(4, 6, FlowConfig(width=32, depth=2, drop_condition=0.0))
    z = torch.eye(4)[torch.arange(64) % 2]
    targets = torch.randn(2, 6)
    x = targets[torch.arange(64) % 2]
    previous = torch.zeros(64, 6)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(300):
        loss = head.loss(z, x, previous).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        made = head.sample(z, previous, torch.randn(64, 6))
    assert float((made - x).square().mean()) < 0.02 * float(np.var(targets.numpy()))
