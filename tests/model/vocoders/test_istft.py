"""The learned vocoder: pieces make the whole, rows are alone, silence is silent, old files load."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.load import load_config
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import load_checkpoint, random_checkpoint, save_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.griffin_lim import GriffinLim
from microturn.model.vocoders.istft import IstftVocoder

LAYOUT = StreamLayout()
FRAMES, SPM = LAYOUT.fine_frames_per_micro_turn, LAYOUT.samples_per_micro_turn
SMALL = VocoderConfig(kind="istft", width=24, layers=2, kernel=5)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def vocoder_of(cfg: VocoderConfig = SMALL, seed: int = 0) -> IstftVocoder:
    """Random weights, all of them large enough to matter."""
    torch.manual_seed(seed)
    vocoder = IstftVocoder(cfg, LAYOUT).eval()
    for parameter in vocoder.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return vocoder


def speech_like(rows: int, micro_turns: int, seed: int = 0) -> torch.Tensor:
    """Log-mel (B, F, 80) with loud and silent stretches."""
    generator = torch.Generator().manual_seed(seed)
    loud = torch.rand(rows, micro_turns * FRAMES, 80, generator=generator) * 5 - 4
    speaks = torch.rand(rows, micro_turns, 1, 1, generator=generator) < 0.7
    whole = torch.where(speaks, loud.unflatten(1, (micro_turns, FRAMES)), torch.tensor(-4.0))
    return whole.flatten(1, 2)


@torch.inference_mode()
def stream(vocoder: IstftVocoder, log_mel: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    state, parts = vocoder.init_state(len(log_mel)), []
    for piece in log_mel.split(cuts, dim=1):
        sound, state = vocoder.step(piece, state)
        parts.append(sound)
    return torch.cat(parts, dim=1)


@given(cuts=st.lists(st.integers(1, 3), min_size=1, max_size=5), seed=st.integers(0, 3))
def test_pieces_of_any_length_make_the_whole_bit_for_bit(cuts: list[int], seed: int) -> None:
    vocoder = vocoder_of(seed=seed)
    log_mel = speech_like(2, sum(cuts), seed)
    with torch.inference_mode():
        whole = vocoder(log_mel)
    assert whole.shape == (2, sum(cuts) * SPM)
    assert torch.equal(stream(vocoder, log_mel, [n * FRAMES for n in cuts]), whole)


def test_default_size_in_company_is_the_same_as_alone_bit_for_bit() -> None:
    vocoder = vocoder_of(VocoderConfig(kind="istft"))
    log_mel = speech_like(8, 6)
    cuts = [FRAMES] * 6
    together = stream(vocoder, log_mel, cuts)
    for rows in (1, 3):
        assert torch.equal(stream(vocoder, log_mel[:rows], cuts), together[:rows])
    with torch.inference_mode():
        assert torch.equal(vocoder(log_mel[:1]), together[:1])


def test_sound_does_not_know_the_future() -> None:
    vocoder = vocoder_of()
    log_mel = speech_like(1, 4)
    other = log_mel.clone()
    other[:, 2 * FRAMES :] += 1.0
    with torch.inference_mode():
        a, b = vocoder(log_mel), vocoder(other)
    assert torch.equal(a[:, : 2 * SPM], b[:, : 2 * SPM])
    assert not torch.equal(a[:, 2 * SPM :], b[:, 2 * SPM :])


def test_silence_is_digital_silence_once_windows_have_ended() -> None:
    vocoder = vocoder_of()
    quiet = torch.full((1, 2 * FRAMES, 80), -4.0)
    log_mel = torch.cat([speech_like(1, 2), quiet], dim=1)
    with torch.inference_mode():
        sound = vocoder(log_mel)
    assert sound[:, : 2 * SPM].any()
    assert not sound[:, 2 * SPM + vocoder.lag :].any()


@pytest.mark.parametrize(("floor", "sounds"), [(-3.5, False), (-3.9, True)])
def test_only_bands_above_the_floor_sound(floor: float, sounds: bool) -> None:
    vocoder = vocoder_of(replace(SMALL, floor=floor))
    quiet = torch.full((1, 2 * FRAMES, 80), -3.7)
    silence = torch.full((1, 2 * FRAMES, 80), -3.95)
    with torch.inference_mode():
        assert bool(vocoder(quiet).any()) == sounds
        assert not vocoder(silence).any()


def test_untrained_it_has_the_envelope_already_and_griffin_lims_lag() -> None:
    t = np.arange(10 * SPM) / LAYOUT.sample_rate
    tone = 0.05 * sum(np.sin(2 * np.pi * 160 * k * t) / k for k in range(1, 20))
    wanted = fine_mel(tone.astype(np.float32), LAYOUT)
    torch.manual_seed(0)
    vocoder = IstftVocoder(VocoderConfig(kind="istft"), LAYOUT)
    assert vocoder.lag == GriffinLim(VocoderConfig(), LAYOUT).lag == 600
    with torch.inference_mode():
        made = vocoder(torch.from_numpy(wanted).flatten(0, 1)[None])[0].numpy()
    got = fine_mel(np.concatenate([made[600:], np.zeros(600, np.float32)]), LAYOUT)
    loud = wanted > wanted.max() - 2.0
    assert np.median(20 * np.abs(got - wanted)[loud]) < 8.0


def test_every_parameter_learns() -> None:
    vocoder = vocoder_of()
    vocoder(speech_like(2, 3)).square().mean().backward()
    for name, parameter in vocoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"width": 0}, "model.vocoder.width=0"),
        ({"segments": 0}, "model.vocoder.segments=0"),
        ({"floor": -4.0}, "model.vocoder.floor=-4.0 must be above -4.0"),
        ({"segment_ms": 100}, "model.vocoder.segment_ms=100"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(words: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VocoderConfig(**words)  # type: ignore[arg-type]


# --- with the model ------------------------------------------------------------------------------
def with_vocoder(folder: Path) -> Path:
    """A checkpoint folder with a learned vocoder, all weights random."""
    base = random_checkpoint()
    config = replace(base.model.cfg, vocoder=SMALL)
    made = random_checkpoint(config=config)
    save_checkpoint(folder, made.model, made.tokenizer)
    return folder


def test_a_checkpoint_keeps_its_vocoder(tmp_path: Path) -> None:
    loaded = load_checkpoint(with_vocoder(tmp_path))
    assert loaded.model.vocoder.is_learned
    again = load_checkpoint(with_vocoder(tmp_path / "again"))
    log_mel = speech_like(1, 2)
    with torch.inference_mode():
        assert torch.equal(loaded.model.vocoder(log_mel), again.model.vocoder(log_mel))


def test_a_checkpoint_from_before_there_was_one_loads(tmp_path: Path) -> None:
    old = random_checkpoint()
    save_checkpoint(tmp_path, old.model, old.tokenizer)
    text = (tmp_path / "config.yaml").read_text().splitlines()
    start = text.index("vocoder:")
    end = next((i for i in range(start + 1, len(text)) if not text[i].startswith(" ")), len(text))
    (tmp_path / "config.yaml").write_text("\n".join(text[:start] + text[end:]) + "\n")
    loaded = load_checkpoint(tmp_path)
    assert not loaded.model.vocoder.is_learned
    assert load_config(ModelConfig, [tmp_path / "config.yaml"]).vocoder.kind == "griffin_lim"


def test_choosing_it_changes_no_other_weight() -> None:
    config = random_checkpoint().model.cfg
    weights = []
    for chosen in (config, replace(config, vocoder=SMALL)):
        torch.manual_seed(3)
        weights.append(InteractionModel(chosen, LAYOUT, vocab_size=32).state_dict())
    plain, learned = weights
    assert any(name.startswith("vocoder.") for name in learned)
    assert all(torch.equal(learned[name], value) for name, value in plain.items())


def inputs_of(audio: np.ndarray) -> dict[int, MicroTurnIn]:
    """One micro-turn of every row, from audio (B, samples)."""
    return {row: MicroTurnIn(audio=samples) for row, samples in enumerate(audio)}


def test_sessions_speak_through_it_alone_and_in_company(tmp_path: Path) -> None:
    loaded = load_checkpoint(with_vocoder(tmp_path))
    rng = np.random.default_rng(0)
    microphone = rng.standard_normal((6, 3, SPM)).astype(np.float32) * 0.1
    together, alone = RowBatch(loaded, 3), RowBatch(loaded, 1)
    for heard in microphone:
        both = together.step_rows(inputs_of(heard))[0].audio
        single = alone.step_rows(inputs_of(heard[:1]))[0].audio
        assert np.isfinite(both).all()
        np.testing.assert_array_equal(both, single)
    assert both.any()
    first = RowBatch(loaded, 1).step_rows(inputs_of(microphone[0][:1]))[0].audio
    alone.reset(0)
    np.testing.assert_array_equal(alone.step_rows(inputs_of(microphone[0][:1]))[0].audio, first)
