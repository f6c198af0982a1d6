"""The video lane: packing, the stem against the public one, whole dialogue = steps, training."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import TINY_LAYOUT, load_checkpoint, random_checkpoint
from microturn.model.checkpoint import save_checkpoint as save
from microturn.model.choice import choose_token
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.losses import compute_losses
from microturn.model.model import InputTensors
from microturn.model.stems.hmlp import FOLDS, HMLP, PIXEL_MEAN, PIXEL_STD, FrameEmbedding
from microturn.model.streams import (
    Lanes,
    LayoutError,
    StreamLayout,
    Tokenizer,
    pack_dialogue,
    pack_given,
    patches_of,
)

LAYOUT = replace(TINY_LAYOUT, video_rows=2, video_cols=3)
N = 12
# No experts: a tie of two scores may fall either way with the size of a product.
DENSE = ModelConfig(
    d_model=48,
    n_layers=2,
    n_heads=4,
    d_ff=64,
    window=8,
    video_channels=(16, 24, 32),
    moe=MoEConfig(n_experts=0),
    flow=FlowConfig(width=32, depth=2, steps=2),
)


def frames(n: int, layout: StreamLayout = LAYOUT, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *layout.lane("video").shape), dtype=np.uint8)


def dialogue(layout: StreamLayout, video: np.ndarray | None, n: int = N) -> Lanes:
    rng = np.random.default_rng(1)
    size = n * layout.samples_per_micro_turn
    audio = (0.1 * rng.standard_normal((2, size))).astype(np.float32)
    return pack_dialogue(
        user_audio=audio[0],
        agent_audio=audio[1],
        heard=[],
        say=[],
        text_in=[],
        layout=layout,
        tokenizer=Tokenizer.train(["one two"] * 9, vocab_size=60),
        given={} if video is None else {"video": video},
    )


def test_patches_are_read_row_by_row() -> None:
    video = frames(2)
    patches = patches_of(video)
    assert patches.shape == (2, 6, 40, 40, 3)
    for row in range(2):
        for col in range(3):
            piece = video[:, 40 * row : 40 * row + 40, 40 * col : 40 * col + 40]
            assert np.array_equal(patches[:, 3 * row + col], piece)


def test_lanes_keep_the_frames_and_are_prefix_stable() -> None:
    video = frames(N)
    lanes = dialogue(LAYOUT, video)
    back = Lanes.from_members(LAYOUT, lanes.members())
    assert np.array_equal(back["video"], video)
    assert np.array_equal(lanes.head(5)["video"], video[:5])
    assert lanes.members().keys() == {"streams.npz", "features.npz", "video.npz"}
    assert lanes.members()["video.npz"].keys() == {"frames"}
    assert "video" not in lanes.members()["streams.npz"]


def test_a_layout_without_video_is_untouched_by_it() -> None:
    plain, seen = dialogue(TINY_LAYOUT, None), dialogue(LAYOUT, frames(N))
    assert "video" not in plain.arrays
    assert plain.members().keys() == {"streams.npz", "features.npz"}
    for name, array in plain.members()["streams.npz"].items():
        assert np.array_equal(array, seen.members()["streams.npz"][name]), name
    assert "video" not in LaneBatch.collate([plain, plain]).lanes


def test_a_camera_that_is_off_is_black_and_wrong_frames_are_refused() -> None:
    off = pack_given({}, N, LAYOUT)["video"]
    assert off.shape == (N, *LAYOUT.lane("video").shape)
    assert not off.any()
    with pytest.raises(LayoutError, match="video_rows=2"):
        pack_given({"video": frames(N)[:, :40]}, N, LAYOUT)
    with pytest.raises(LayoutError, match="are 0"):
        pack_given({"video": frames(N)}, N, TINY_LAYOUT)


@pytest.mark.parametrize(("rows", "cols"), [(1, 0), (0, 2), (-1, -1)])
def test_half_a_grid_is_refused(rows: int, cols: int) -> None:
    with pytest.raises(LayoutError, match="must both be 0 or both be positive"):
        StreamLayout(video_rows=rows, video_cols=cols)


def test_batches_pad_with_black() -> None:
    batch = LaneBatch.collate([dialogue(LAYOUT, frames(N)), dialogue(LAYOUT, frames(4), n=4)])
    assert batch["video"].shape == (2, N, *LAYOUT.lane("video").shape)
    assert not batch["video"][1, 4:].any()


def test_the_stem_is_that_of_the_public_reference() -> None:
    """Same plan, weights and pixels, same vectors as the layers of `InklingVisionModel`."""
    public = pytest.importorskip("transformers.models.inkling.modeling_inkling")
    scales = public.plan_out_scales(1, 40, len(FOLDS), 3).int().tolist()  # (t, h, w, channels)
    assert tuple(after[1] // before[1] for before, after in pairwise(scales)) == FOLDS
    widths = [scale[3] for scale in scales[1:-1]]
    torch.manual_seed(0)
    ours = HMLP(48, tuple(widths)).requires_grad_(False)
    x = pixels = torch.randn(7, 40, 40, 3)
    x = x[:, None]  # time
    for index, (size, width) in enumerate(zip(FOLDS, (*widths, 48), strict=True)):
        last = index == len(widths)
        stage, norm = ours.stages[index], ours.norms[index]
        assert isinstance(stage, torch.nn.Linear)
        assert isinstance(norm, torch.nn.RMSNorm)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        layer = public.InklingVisionEncoderLayer(stage.in_features, width, 1, size, not last)
        layer.projection.weight = stage.weight
        public_norm = public.InklingRMSNorm(width)
        public_norm.weight = norm.weight
        if not last:
            layer.layer_norm = public_norm
        x = layer(x)
    expected = public_norm(x)[:, 0, 0, 0]
    torch.testing.assert_close(ours(pixels), expected, atol=1e-5, rtol=1e-5)


def test_embedding_standardises_cuts_and_marks() -> None:
    torch.manual_seed(0)
    embedding = FrameEmbedding(24, (2, 3), (8, 8, 8))
    video = frames(2)
    patches = torch.from_numpy(patches_of(video)).float() / 255
    pixels = (patches - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    with torch.no_grad():
        marks = (embedding.rows[:, None] + embedding.cols).flatten(0, 1)
        expected = embedding.stem(pixels) + marks
        torch.testing.assert_close(embedding(torch.from_numpy(video)), expected)


def test_a_wrong_number_of_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="video_channels"):
        random_checkpoint(layout=LAYOUT, config=ModelConfig(video_channels=(8, 8)))


def test_steps_equal_the_whole_dialogue() -> None:
    """Streaming chose the tokens of the one-shot forward over the same lanes."""
    ck = random_checkpoint(1, layout=LAYOUT, config=DENSE)
    batch = LaneBatch.collate([dialogue(LAYOUT, frames(N, seed=seed)) for seed in range(2)])
    state = ck.model.init_state(2)
    noise = torch.zeros(2, LAYOUT.audio_out_positions, LAYOUT.patch_dim)
    said, heard, mels = [], [], []
    with torch.no_grad():
        for n in range(N):
            given = {name: batch[name][:, n] for name in ("video", "audio_in", "text_in")}
            inputs = InputTensors(given, batch.missing_input[:, n])
            out, state = ck.model.step(inputs, state, noise)
            said.append(out.tokens["say"])
            heard.append(out.tokens["heard"])
            mels.append(out.log_mel)
        made = {"say": torch.stack(said, 1), "heard": torch.stack(heard, 1)}
        done = replace(batch, lanes={**batch.lanes, **made})
        normal = (torch.stack(mels, 1) - ck.model.mel_mean) / ck.model.mel_std
        patches = normal.flatten(-2).unflatten(-1, (LAYOUT.audio_out_positions, -1))
        hidden = ck.model(done, patches)
        for lane in ("heard", "say"):
            logits = ck.model.unembed(hidden[lane])
            words = logits[..., 1:].topk(2, dim=-1).values  # idle is never half of random weights
            clear = words[..., 0] - words[..., 1] > 1e-3
            assert clear.float().mean() > 0.9
            chosen = choose_token(logits, ck.model.cfg.start_at)
            assert torch.equal(chosen[clear], done[lane][clear]), lane


def test_what_is_seen_matters_from_its_own_micro_turn_on() -> None:
    ck = random_checkpoint(2, layout=LAYOUT)
    batch = LaneBatch.collate([dialogue(LAYOUT, frames(N))])
    with torch.no_grad():
        patches = ck.model.patches(batch["audio_out"])
        before = ck.model(batch, patches)["say"]
        batch["video"][:, 6:] = 0
        after = ck.model(batch, patches)["say"]
    torch.testing.assert_close(after[:, :6], before[:, :6], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after[:, 6], before[:, 6], atol=1e-3)


def test_gradient_reaches_the_stem() -> None:
    ck = random_checkpoint(3, layout=LAYOUT)
    ck.model.train()
    torch.manual_seed(0)
    batch = LaneBatch.collate([dialogue(LAYOUT, frames(N, seed=seed)) for seed in range(2)])
    compute_losses(ck.model, batch)["loss"].backward()
    missing = [n for n, p in ck.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in missing if "video" in name] == []


def test_forward_without_its_frames_is_refused() -> None:
    ck = random_checkpoint(4, layout=LAYOUT)
    batch = LaneBatch.collate([dialogue(LAYOUT, None)])
    lanes = {name: lane for name, lane in batch.lanes.items() if name != "video"}
    batch = replace(batch, lanes=lanes)
    with pytest.raises(ValueError, match="has a lane video but the input has no video"):
        ck.model(batch, ck.model.patches(batch["audio_out"]))


def inputs_of(audio: np.ndarray, *, video: Sequence[np.ndarray | None]) -> dict[int, MicroTurnIn]:
    """One micro-turn of every row, from audio (B, samples) and a frame each."""
    return {
        row: MicroTurnIn(audio=samples, given={} if frame is None else {"video": frame})
        for row, (samples, frame) in enumerate(zip(audio, video, strict=True))
    }


def test_sessions_see_each_row_its_own_frame(tmp_path: Path) -> None:
    made = random_checkpoint(5, layout=LAYOUT, config=DENSE)
    save(tmp_path, made.model, made.tokenizer)
    ck = load_checkpoint(tmp_path)  # a checkpoint keeps the lane
    video, dark = frames(6), np.zeros((6, *LAYOUT.lane("video").shape), np.uint8)
    audio = np.zeros((2, LAYOUT.samples_per_micro_turn), np.float32)
    both, swapped, off = (RowBatch(ck, 2) for _ in range(3))
    for k in range(6):
        one = both.step_rows(inputs_of(audio, video=[video[k], dark[k]]))
        two = swapped.step_rows(inputs_of(audio, video=[dark[k], video[k]]))
        unlit = off.step_rows(inputs_of(audio, video=[None, None]))
        np.testing.assert_allclose(one[0].audio, two[1].audio, atol=1e-5)
        np.testing.assert_allclose(one[1].audio, unlit[0].audio, atol=1e-5)
        assert one[0].say == two[1].say
        assert np.abs(one[0].audio - one[1].audio).max() > 1e-3
    with pytest.raises(LayoutError, match="video is"):
        both.step_rows(inputs_of(audio, video=list(video[:2, :40])))


def test_what_is_seen_can_decide_what_is_said() -> None:
    """Two dialogues that sound alike: only their frames tell which word comes."""
    from microturn.training.config import OptimConfig
    from microturn.training.optim import build_optimizer

    ck = random_checkpoint(6, layout=LAYOUT, config=DENSE)
    ck.model.train()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    video = np.full((2, N, *LAYOUT.lane("video").shape), 90, np.uint8)
    video[0, 5:, 10:30, 50:70] = (220, 40, 40)  # a red sign appears, or a blue one
    video[1, 5:, 10:30, 50:70] = (40, 40, 220)
    video = np.clip(video + rng.integers(-9, 10, video.shape), 0, 255).astype(np.uint8)
    batch = LaneBatch.collate([dialogue(LAYOUT, frames) for frames in video])
    words = torch.zeros_like(batch["say"])
    words[0, 5:], words[1, 5:] = 20, 21
    batch = replace(batch, lanes={**batch.lanes, "say": words})
    optimizer = build_optimizer(ck.model, OptimConfig())
    for _ in range(60):
        compute_losses(ck.model, batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    ck.model.eval()
    with torch.no_grad():
        hidden = ck.model(batch, ck.model.patches(batch["audio_out"]))
        chosen = choose_token(ck.model.unembed(hidden["say"]), ck.model.cfg.start_at)
    assert torch.equal(chosen[:, :-1], words[:, :-1])  # the last micro-turn carries no weight
