"""The norm with a backward pass of its own is that of PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from microturn.kernels.rms_norm import rms_norm


@pytest.mark.parametrize("shape", [(1, 1), (7, 32), (2, 5, 3, 20)])
@pytest.mark.parametrize("eps", [None, 1e-3])
def test_bits_are_those_of_pytorch_and_gradients_agree(
    shape: tuple[int, ...], eps: float | None
) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(s, requires_grad=True) for s in (shape, shape[-1:]))
    grad = torch.randn(shape)
    ours, theirs = rms_norm(x, weight, eps), F.rms_norm(x, weight.shape, weight, eps)
    assert torch.equal(ours, theirs)
    with torch.no_grad():
        assert torch.equal(rms_norm(x, weight, eps), theirs)
    for got, expected in zip(
        torch.autograd.grad(ours, (x, weight), grad),
        torch.autograd.grad(theirs, (x, weight), grad),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_a_weight_for_each_row_of_a_group() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 3, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    parts = [F.rms_norm(x[..., i, :], (8,), weight[i]) for i in range(3)]
    expected = torch.stack(parts, dim=-2)
    y = rms_norm(x, weight)
    assert torch.equal(y, expected)
    with torch.no_grad():
        assert torch.equal(rms_norm(x, weight), expected)
        assert rms_norm(x.bfloat16(), weight).dtype == torch.bfloat16
    grad = torch.randn(x.shape)
    for got, want in zip(
        torch.autograd.grad(y, (x, weight), grad),
        torch.autograd.grad(expected, (x, weight), grad),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # torch's own, while it traces
def test_traced_gradients_are_those_of_pytorch() -> None:
    traced = torch.compile(rms_norm, backend="aot_eager", dynamic=False)
    x, weight = (torch.randn(5, 8, requires_grad=True), torch.rand(8, requires_grad=True))
    found = torch.autograd.grad(traced(x, weight).sin().sum(), (x, weight))
    expected = torch.autograd.grad(F.rms_norm(x, (8,), weight).sin().sum(), (x, weight))
    torch.testing.assert_close(found, expected)
