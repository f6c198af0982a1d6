"""Noise of rows from seeds of their own: on a GPU the numbers of Philox, in any batch the same."""

import numpy as np
import pytest
import torch
from torch import Tensor

from microturn.kernels.ops import row_noise
from microturn.kernels.row_noise_triton import row_noise_triton

SEEDS = [3, 2**64 - 5, 12345678901234567890]
U32 = 0xFFFFFFFF


def draw(seeds: list[int], shape: tuple[int, int, int], device: torch.device) -> list[Tensor]:
    return [x.cpu() for x in row_noise_triton(seeds, shape, 2, 3, device)]


def philox(counter: tuple[int, ...], seed: int) -> list[int]:
    """Ten rounds of Philox-4x32 as its paper has them."""
    c0, c1, c2, c3 = counter
    k0, k1 = seed & U32, seed >> 32
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & U32, (a >> 32) ^ c3 ^ k1, a & U32
        k0, k1 = (k0 + 0x9E3779B9) & U32, (k1 + 0xBB67AE85) & U32
    return [c0, c1, c2, c3]


def unit(word: int) -> float:
    signed = word - 2**32 if word >= 2**31 else word
    return float(np.float32(-signed - 1 if signed < 0 else signed) * np.float32(4.6566127342e-10))


def test_the_reference_of_this_test_is_philox() -> None:
    assert philox((0, 0, 0, 0), 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_numbers_are_those_of_philox(device: torch.device) -> None:
    uniform, normal = draw(SEEDS, (3, 2, 5), device)
    for row, seed in enumerate(SEEDS):
        for number in (0, 5):
            word = philox((number // 4, 1, 0, 0), seed)[number % 4]
            assert float(uniform[1, row].flatten()[number]) == pytest.approx(unit(word), abs=1e-7)
        words = [unit(word) for word in philox((7, 2, 1, 0), seed)]
        radius, angle = (-2 * np.log(max(words[0], 1e-7))) ** 0.5, 2 * np.pi * words[1]
        expected = [radius * np.cos(angle), radius * np.sin(angle)]
        assert normal[2, row].flatten()[28:30].tolist() == pytest.approx(expected, abs=1e-5)


def test_numbers_of_a_row_and_a_place_are_the_same_in_any_batch(device: torch.device) -> None:
    together = draw(SEEDS, (5, 2, 40), device)
    for row, seed in enumerate(SEEDS):
        for all_rows, alone in zip(together, draw([seed], (3, 2, 40), device), strict=True):
            assert torch.equal(all_rows[:, row : row + 1, :3], alone)


def test_numbers_are_spread_as_they_should_be(device: torch.device) -> None:
    uniform, normal = draw([1, 2], (40, 4, 20), device)
    assert 0 <= float(uniform.min()) < 0.02
    assert 0.98 < float(uniform.max()) < 1
    assert abs(float(normal.mean())) < 0.02
    assert float(normal.std()) == pytest.approx(1, abs=0.02)
    flat = normal.flatten(0, 1).flatten(1)  # draws and rows
    assert float((torch.corrcoef(flat) - torch.eye(len(flat))).abs().max()) < 0.1


def test_a_cpu_draws_by_a_generator_of_torch() -> None:
    uniform, normal = row_noise(
        [4, 5], (33, 2, 3), n_uniform=2, n_normal=1, device=torch.device("cpu")
    )
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(uniform[:, 1, :32], torch.rand(32, 2, 2, generator=generator).movedim(-1, 0))
    assert torch.equal(normal[0, 1, :32], torch.randn(32, 2, 3, generator=generator))
