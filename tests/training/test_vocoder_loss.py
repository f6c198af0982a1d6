"""Training the vocoder: its segments of voice, their shares of the loss, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader
from microturn.model.checkpoint import load_checkpoint
from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.streams.mel import dequantise_fine, quantise_fine
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.istft import IstftVocoder
from microturn.training.sources import open_source
from microturn.training.vocoder_loss import VocoderTask, VoiceSegmentSampler, segments_of

LAYOUT = StreamLayout()
SPM = LAYOUT.samples_per_micro_turn
SMALL = VocoderConfig(kind="istft", width=24, layers=2, kernel=5)


class Tones:
    """Dialogues of silence with one gliding tone in each."""

    def __len__(self) -> int:
        return 6

    def agent(self, position: int) -> np.ndarray:
        audio = np.zeros(20 * SPM, np.float32)
        t = np.arange(4 * SPM) / LAYOUT.sample_rate
        phase = 2 * np.pi * np.cumsum(120 + 15 * position + 20 * np.sin(3 * t)) / 16_000
        start = (2 + position) * SPM + 777
        tone = 0.08 * sum(np.sin(k * phase) / k for k in range(1, 15))
        audio[start : start + len(t)] = tone
        return audio


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=4", "workers=1"]
    assert main([*words, "n_micro_turns=40"]) == 0
    return out


def test_a_segment_is_voice_with_the_mel_that_the_lane_would_hold() -> None:
    segments = VoiceSegmentSampler(Tones(), SMALL, LAYOUT, seed=1).draw(5, range(8))
    assert segments.sound.shape == (8, 3 * SPM)
    assert segments.log_mel.shape == (8, 3 * LAYOUT.fine_frames_per_micro_turn, 80)
    for sound, log_mel in zip(segments.sound.numpy(), segments.log_mel.numpy(), strict=True):
        assert np.abs(sound).max() > 1e-3
        # Sound before the segment is in its first windows only.
        levels = dequantise_fine(quantise_fine(fine_mel(sound, LAYOUT))).reshape(-1, 80)
        np.testing.assert_array_equal(log_mel[3:], levels[3:])


def test_a_segment_depends_on_seed_step_and_number_alone() -> None:
    draw = VoiceSegmentSampler(Tones(), SMALL, LAYOUT, seed=1).draw
    whole, part = draw(7, range(6)), draw(7, range(3, 5))
    assert torch.equal(whole.sound[3:5], part.sound)
    assert torch.equal(whole.log_mel[3:5], part.log_mel)
    assert not torch.equal(draw(8, range(6)).sound, whole.sound)
    other = VoiceSegmentSampler(Tones(), SMALL, LAYOUT, seed=2).draw(7, range(6))
    assert not torch.equal(other.sound, whole.sound)


@given(n=st.integers(1, 20), size=st.integers(1, 6), n_batches=st.integers(1, 6))
def test_micro_batches_of_a_step_share_out_its_segments(n: int, size: int, n_batches: int) -> None:
    rows = [range(i * size, (i + 1) * size) for i in range(n_batches)]
    shares = [segments_of(r, size * n_batches, n_segments=n) for r in rows]
    assert [number for share in shares for number in share] == list(range(n))


def test_losses_of_micro_batches_add_up_to_that_of_the_whole() -> None:
    torch.manual_seed(0)
    vocoder = IstftVocoder(SMALL, LAYOUT)
    task = VocoderTask(Tones(), SMALL, LAYOUT, seed=0)
    whole = task.loss(vocoder, 3, rows=range(8), batch_size=8)
    halves = [task.loss(vocoder, 3, rows=rows, batch_size=8) for rows in (range(4), range(4, 8))]
    for name, value in whole.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], value)
    again = VocoderTask(Tones(), SMALL, LAYOUT, seed=0)  # a resumed run has read nothing ahead
    assert torch.equal(
        again.loss(vocoder, 4, rows=range(8), batch_size=8)["vocoder"],
        task.loss(vocoder, 4, rows=range(8), batch_size=8)["vocoder"],
    )


def test_more_micro_batches_than_segments_are_refused() -> None:
    task = VocoderTask(Tones(), VocoderConfig(kind="istft", segments=1), LAYOUT, seed=0)
    vocoder = IstftVocoder(SMALL, LAYOUT)
    with pytest.raises(ValueError, match="give at least 4"):
        task.loss(vocoder, 0, rows=range(1, 2), batch_size=4)


def test_it_learns_a_tone_in_a_few_steps() -> None:
    torch.manual_seed(0)
    vocoder = IstftVocoder(SMALL, LAYOUT)
    task = VocoderTask(Tones(), SMALL, LAYOUT, seed=0)
    optimizer = torch.optim.AdamW(vocoder.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        loss = task.loss(vocoder, step, rows=range(4), batch_size=4)
        optimizer.zero_grad()
        loss["vocoder"].backward()
        optimizer.step()
        losses.append({name: float(value.detach()) for name, value in loss.items()})
    for name in ("vocoder", "vocoder_stft", "vocoder_mel"):
        before, after = (np.mean([x[name] for x in part]) for part in (losses[:5], losses[-5:]))
        assert after < 0.95 * before, name


def test_silence_gives_a_loss_and_no_trouble() -> None:
    class Silence(Tones):
        def agent(self, position: int) -> np.ndarray:
            return np.zeros(2 * SPM, np.float32)  # shorter than a segment, too

    task = VocoderTask(Silence(), SMALL, LAYOUT, seed=0)
    vocoder = IstftVocoder(SMALL, LAYOUT)
    loss = task.loss(vocoder, 0, rows=range(4), batch_size=4)["vocoder"]
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(torch.isfinite(p.grad).all() for p in vocoder.parameters() if p.grad is not None)


def test_sources_give_the_voice(data: Path) -> None:
    source, reader = open_source(str(data)), ShardReader(data)
    np.testing.assert_array_equal(source.agent(2), reader[2].agent())
    live = open_source("live:datagen/smoke.yaml n_micro_turns=40")
    voice = live.agent(0)
    assert len(voice) == 40 * live.layout.samples_per_micro_turn
    levels = quantise_fine(fine_mel(voice, live.layout))
    np.testing.assert_array_equal(levels[1:], live.lanes(0)["audio_out"][:-1])


def train(data: Path, out: Path, *words: str) -> int:
    fixed = ["threads=1", "model.vocoder.kind=istft", "model.vocoder.width=24"]
    return main(["train", "training/smoke.yaml", f"data={data}", f"out={out}", *fixed, *words])


def test_training_learns_it_jointly_and_a_resumed_run_is_the_straight_one(
    data: Path, tmp_path: Path
) -> None:
    assert train(data, tmp_path / "straight", "max_steps=4", "optim.decay=1e-9") == 0
    assert train(data, tmp_path / "resumed", "max_steps=2", "optim.decay=1e-9") == 0
    assert train(data, tmp_path / "resumed", "max_steps=4", "optim.decay=1e-9") == 0
    straight, resumed = (
        load_checkpoint(tmp_path / name / "checkpoint").model.state_dict()
        for name in ("straight", "resumed")
    )
    assert any(name.startswith("vocoder.") for name in straight)
    for name, value in straight.items():
        assert torch.equal(resumed[name], value), name
