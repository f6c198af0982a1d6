"""Changes of the sound that dialogues hear in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.configs.main import WRONG_USAGE, main
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import TINY_LAYOUT
from microturn.model.streams.mel import bands_of_scaled, dmel
from microturn.training.config import SoundConfig
from microturn.training.reading.vary_sound import vary_sound

RATE = TINY_LAYOUT.sample_rate


def tone(hertz: float) -> np.ndarray:
    time_s = np.arange(5 * TINY_LAYOUT.samples_per_micro_turn) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def batch(rows: int = 6) -> LaneBatch:
    g = torch.Generator().manual_seed(0)
    sound = torch.randint(0, 16, (rows, 5, 4, 80), generator=g, dtype=torch.uint8)
    words = torch.randint(0, 9, (rows, 5, 1), generator=g)
    return LaneBatch(
        {"audio_in": sound, "heard": words}, {}, torch.zeros(rows, 5, dtype=torch.bool)
    )


@pytest.mark.parametrize("hertz", [300.0, 900.0, 2000.0, 3500.0])
@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_bands_move_as_the_frequencies_of_a_tone_do(hertz: float, factor: float) -> None:
    moved = dmel(tone(hertz), TINY_LAYOUT)[2, 0][bands_of_scaled(RATE, np.array(factor))]
    sung = dmel(tone(hertz * factor), TINY_LAYOUT)[2, 0]
    loudest = [float(np.flatnonzero(each == each.max()).mean()) for each in (moved, sung)]
    assert abs(loudest[0] - loudest[1]) <= 1.0


def test_a_row_is_changed_by_its_seed_alone() -> None:
    cfg, whole = SoundConfig(share=0.6), batch()
    seeds = [11, 12, 13, 14, 15, 16]
    changed = vary_sound(whole, seeds, TINY_LAYOUT, cfg)["audio_in"]
    for row, seed in enumerate(seeds):
        alone = vary_sound(whole.row(row), [seed], TINY_LAYOUT, cfg)["audio_in"]
        assert torch.equal(alone[0], changed[row])
    same = [torch.equal(changed[row], whole["audio_in"][row]) for row in range(6)]
    assert any(same)
    assert not all(same)


def test_words_stay_and_no_share_changes_nothing() -> None:
    whole = batch()
    assert vary_sound(whole, range(6), TINY_LAYOUT, SoundConfig()) is whole
    changed = vary_sound(whole, range(6), TINY_LAYOUT, SoundConfig(share=1.0))
    assert torch.equal(changed["heard"], whole["heard"])
    assert torch.equal(whole["audio_in"], batch()["audio_in"])  # a copy was changed


def test_stretches_of_bands_are_silent_and_no_more_of_them_than_stated() -> None:
    whole = batch(40)
    loud = LaneBatch({"audio_in": torch.full_like(whole["audio_in"], 9)}, {}, whole.missing_input)
    cfg = SoundConfig(share=1.0, largest_factor=1.0, largest_gain_db=0.0, masked_bands=5)
    changed = vary_sound(loud, range(40), TINY_LAYOUT, cfg)["audio_in"]
    silent = (changed[:, 0, 0] == 0).sum(-1)
    assert 0 < int(silent.max()) <= 10
    assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))  # the whole dialogue


def test_a_gain_is_that_of_the_samples() -> None:
    """One that is the same at both ends moves every band as a factor on the sound does."""
    cfg = SoundConfig(share=1.0, largest_factor=1.0, largest_gain_db=12.0, masked_bands=0)
    whole = batch(60)
    level = LaneBatch({"audio_in": torch.full_like(whole["audio_in"], 8)}, {}, whole.missing_input)
    changed = vary_sound(level, range(60), TINY_LAYOUT, cfg)["audio_in"][:, 0, 0].int() - 8
    assert set(changed.unique().tolist()) == {-1, 0, 1}
    slope = changed.diff(dim=-1)
    assert bool(((slope >= 0).all(-1) | (slope <= 0).all(-1)).all())  # a line
    loud, louder = dmel(tone(900.0), TINY_LAYOUT), dmel(10 ** (12 / 20) * tone(900.0), TINY_LAYOUT)
    assert int(louder[2].max()) - int(loud[2].max()) == 1  # 12 dB: one bin


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("sound.share=1.5", "sound.share=1.5 must lie between 0 and 1"),
        ("sound.largest_factor=0.8", "sound.largest_factor=0.8 must be at least 1"),
        ("sound.largest_gain_db=-1", "sound.largest_gain_db=-1 must be 0 or more"),
        ("sound.masked_bands=81", "sound.masked_bands=81 must lie in 0..80"),
    ],
)
def test_wrong_changes_name_their_key(
    word: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training/smoke.yaml", "data=nowhere", f"out={tmp_path}", word]
    assert main(["train", *words]) == WRONG_USAGE
    assert says in capsys.readouterr().err
