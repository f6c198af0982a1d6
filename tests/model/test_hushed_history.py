"""The own voice that training reads as silence: which stretches; targets stay what they are."""

from __future__ import annotations

import pytest
import torch

from microturn.model.losses import HUSHED_MICRO_TURNS, hushed_history
from microturn.model.noise import Noise

B, N, P, SIZE = 3, 41, 2, 5
CPU = torch.device("cpu")
SILENCE = torch.full((SIZE,), -7.0)


def drawn(seed: int, n: int = N) -> Noise:
    seeds = [seed + row for row in range(B)]
    return Noise.draw_by_row(seeds, (n, P, SIZE), n_draws=1, device=CPU)


def is_hushed(history: torch.Tensor) -> torch.Tensor:
    return (history == SILENCE).all(-1)  # (B, N, P)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_the_share_of_stretches_is_hushed_and_all_else_is_left(share: float) -> None:
    patches = torch.randn(B, N, P, SIZE)
    hushed = torch.stack(
        [
            is_hushed(hushed_history(patches, drawn(s), SILENCE, share=share))
            for s in range(0, 90, 3)
        ]
    )
    assert hushed.float().mean() == pytest.approx(share, abs=0.06)
    history = hushed_history(patches, drawn(0), SILENCE, share=share)
    assert torch.equal(history[~is_hushed(history)], patches[~is_hushed(history)])


def test_a_stretch_is_hushed_as_a_whole() -> None:
    hushed = is_hushed(hushed_history(torch.randn(B, N, P, SIZE), drawn(1), SILENCE, share=0.5))
    for first in range(0, N, HUSHED_MICRO_TURNS):
        stretch = hushed[:, first : first + HUSHED_MICRO_TURNS].flatten(1)
        assert torch.equal(stretch.all(1), stretch.any(1))


def test_padding_changes_nothing() -> None:
    patches = torch.randn(B, N, P, SIZE)
    padded = torch.cat([patches, torch.randn(B, 30, P, SIZE)], dim=1)
    longer = hushed_history(padded, drawn(2, N + 30), SILENCE, share=0.5)
    assert torch.equal(hushed_history(patches, drawn(2), SILENCE, share=0.5), longer[:, :N])


def test_without_a_share_the_history_is_the_voice_itself() -> None:
    patches = torch.randn(B, N, P, SIZE)
    assert hushed_history(patches, drawn(3), SILENCE, share=0.0) is patches
