"""The stem of sound: windows over bands and frames, in training and in sessions."""

import pytest
import torch
from torch.nn import functional as F

from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.embed import DMelEmbedding
from microturn.model.stems.audio_stem import BANDS, FRAMES, STRIDES, AudioStem, Windows


def stem(group: int = 4) -> AudioStem:
    torch.manual_seed(0)
    made = AudioStem(16, 80, group, (6, 10, 12))
    torch.nn.init.normal_(made.join.weight, std=0.1)
    return made


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, 16, (*shape, 80), dtype=torch.uint8)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_training_and_sessions_compute_the_same(group: int) -> None:
    layers, sound = stem(group), ids(2, 5, 4)
    trained = layers(sound)
    assert trained.shape == (2, 5, 4 // group, 16)
    with torch.no_grad():
        torch.testing.assert_close(layers(sound), trained.detach(), rtol=1e-4, atol=1e-5)


def test_a_window_is_what_the_loops_say() -> None:
    """The first stage at one band of one frame, written out: products with the bands around it."""
    windows, sound = stem().windows[0], ids(1, 1, 4)
    assert isinstance(windows, Windows)
    x = sound[0, 0].float() * (2 / 15) - 1  # (4, 80)
    weight = windows.weight.view(6, FRAMES, BANDS[0])
    frame, window = 2, 7
    first = window * STRIDES[0] - (BANDS[0] - STRIDES[0]) // 2
    expected = torch.zeros(6)
    for f in range(FRAMES):
        for b in range(BANDS[0]):
            at = frame - FRAMES // 2 + f
            if 0 <= at < 4 and 0 <= first + b < 80:
                expected += weight[:, f, b] * x[at, first + b]
    made = windows(x[None, :, :, None])
    torch.testing.assert_close(made[0, frame, window], expected, rtol=1e-4, atol=1e-5)


def test_frames_of_other_positions_are_not_seen() -> None:
    layers, sound = stem(2), ids(3, 8)
    other = sound.clone()
    other[:, 4:6] = (other[:, 4:6] + 5) % 16
    same, changed = layers(sound), layers(other)
    assert torch.equal(same[:, [0, 1, 3]], changed[:, [0, 1, 3]])
    assert not torch.allclose(same[:, 2], changed[:, 2])


def test_a_new_stem_changes_nothing_yet() -> None:
    torch.manual_seed(1)
    plain = DMelEmbedding(16, 80, 4)
    torch.manual_seed(1)
    hearing = DMelEmbedding(16, 80, 4, (6, 10, 12))
    hearing.load_state_dict(plain.state_dict(), strict=False)
    sound = ids(2, 4)
    assert torch.equal(plain(sound), hearing(sound))
    loss = F.mse_loss(hearing(sound), torch.zeros(2, 1, 16))
    loss.backward()
    assert hearing.stem is not None
    assert hearing.stem.join.weight.grad is not None
    assert hearing.stem.join.weight.grad.any()


def test_a_wrong_number_of_widths_names_the_key() -> None:
    config = ModelConfig(audio_channels=(8, 8))
    with pytest.raises(ValueError, match=r"model\.audio_channels=\[8, 8\] must have 3 widths"):
        random_checkpoint(layout=TINY_LAYOUT, config=config)
