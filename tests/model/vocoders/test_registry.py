"""What every vocoder promises, whichever is chosen."""

from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from torch import nn

from microturn.model.param_groups import ParamGroup, param_groups
from microturn.model.streams import StreamLayout
from microturn.model.vocoders.base import Vocoder
from microturn.model.vocoders.config import VocoderConfig, VocoderKind
from microturn.model.vocoders.registry import VOCODERS, build_vocoder

LAYOUT = StreamLayout()
FRAMES, SPM = LAYOUT.fine_frames_per_micro_turn, LAYOUT.samples_per_micro_turn
SMALL = VocoderConfig(width=24, layers=2, kernel=5)
LOUD, QUIET = -1.0, -4.0  # log10 mel

pytestmark = pytest.mark.parametrize("kind", get_args(VocoderKind))


def vocoder_of(kind: VocoderKind) -> Vocoder:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_vocoder(replace(SMALL, kind=kind), LAYOUT).eval()


def loud_then_quiet(rows: int = 2) -> torch.Tensor:
    """Three micro-turns of noise, then two of silence, (B, F, 80)."""
    noise = torch.rand(rows, 3 * FRAMES, 80, generator=torch.Generator().manual_seed(1))
    return torch.cat([LOUD - noise, torch.full((rows, 2 * FRAMES, 80), QUIET)], dim=1)


def test_every_kind_has_one_entry(kind: VocoderKind) -> None:
    assert set(VOCODERS) == set(get_args(VocoderKind))
    assert kind in {f.name: f for f in fields(VocoderConfig)}["kind"].metadata["help"]
    assert VOCODERS[kind].label


@torch.inference_mode()
def test_whole_clips_are_what_micro_turns_make(kind: VocoderKind) -> None:
    vocoder, log_mel = vocoder_of(kind), loud_then_quiet()
    state, sounds = vocoder.init_state(2), []
    for frames in log_mel.split(FRAMES, dim=1):
        sound, state = vocoder.step(frames, state)
        assert sound.shape == (2, SPM)
        sounds.append(sound)
    whole = vocoder(log_mel)
    assert whole.dtype == torch.float32
    assert torch.equal(torch.cat(sounds, dim=1), whole)


@torch.inference_mode()
def test_a_step_leaves_its_state_as_it_was(kind: VocoderKind) -> None:
    vocoder, log_mel = vocoder_of(kind), loud_then_quiet()
    _, state = vocoder.step(log_mel[:, :FRAMES], vocoder.init_state(2))
    before = state.carried.clone()
    first, _ = vocoder.step(log_mel[:, FRAMES : 2 * FRAMES], state)
    again, _ = vocoder.step(log_mel[:, FRAMES : 2 * FRAMES], state)
    assert torch.equal(first, again)
    assert torch.equal(state.carried, before)
    assert len(state.carried) == 2
    assert not vocoder.init_state(2).carried.any()


@torch.inference_mode()
def test_silence_is_digital_once_windows_have_ended(kind: VocoderKind) -> None:
    vocoder = vocoder_of(kind)
    sound = vocoder(loud_then_quiet())
    assert sound[:, : 3 * SPM].any()
    assert not sound[:, 3 * SPM + vocoder.lag :].any()


def test_a_checkpoint_holds_parameters_alone(kind: VocoderKind) -> None:
    vocoder = vocoder_of(kind)
    assert set(vocoder.state_dict()) == {name for name, _ in vocoder.named_parameters()}
    assert vocoder.is_learned == bool(vocoder.state_dict())
    assert set(vocoder.blocks_to_compile()) <= set(vocoder.modules())


def test_matrices_of_hidden_blocks_are_declared(kind: VocoderKind) -> None:
    """Undeclared ones would train with AdamW, and nothing would say so."""
    vocoder = vocoder_of(kind)
    groups, blocks = param_groups(vocoder), list(vocoder.blocks_to_compile())
    linears = [m for block in blocks for m in block.modules() if isinstance(m, nn.Linear)]
    assert bool(linears) == vocoder.is_learned
    assert all(groups[linear.weight] is ParamGroup.MATRIX for linear in linears)


def test_a_model_has_the_vocoder_of_its_kind(kind: VocoderKind) -> None:
    assert type(vocoder_of(kind)) is VOCODERS[kind]


def test_sizes_have_a_minimum(kind: VocoderKind) -> None:
    sizes = [f for f in fields(VocoderConfig) if type(f.default) is int and f.name != "segment_ms"]
    for size in sizes:
        with pytest.raises(ValueError, match=f"model.vocoder.{size.name}=0 must be at least 1"):
            VocoderConfig(kind=kind, **{size.name: 0})
