import pytest
import torch

from microturn.evaluation.bench.kernels_measure import relative_error
from microturn.kernels.pointwise import add_norm_reference, swiglu_reference
from microturn.kernels.pointwise_triton import add_norm_triton, swiglu_triton


@pytest.mark.parametrize("width", [1, 40, 130])
def test_sum_and_norm(width: int, device: torch.device) -> None:
    x, y = torch.randn(3, 2, width, device=device), torch.randn(3, 2, width, device=device)
    weight = torch.randn(width, device=device)
    got, expected = add_norm_triton(x, y, weight, 1e-6), add_norm_reference(x, y, weight, 1e-6)
    assert torch.equal(got[0], expected[0])
    assert relative_error(got[1], expected[1]) < 1e-6


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_swiglu(parts: int, device: torch.device) -> None:
    x = torch.randn(5, 2 * 36, device=device)
    scale = torch.rand(5, 7, device=device)[:, 7 - parts :] if parts else None
    assert relative_error(swiglu_triton(x, scale), swiglu_reference(x, scale)) < 1e-6
