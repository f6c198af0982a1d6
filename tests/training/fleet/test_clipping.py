"""The norm that gradients are clipped by, in one process and in shares of several."""

import pytest
import torch

from microturn.training.optim import clip_gradients_


def with_gradient(*shape: int) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(shape))
    parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    return parameter


def test_the_norm_of_large_gradients_is_exact() -> None:
    """`torch.nn.utils.get_total_norm` is 8e-5 off for the first of them alone."""
    parameters = [with_gradient(4096, 1024), with_gradient(8, 64, 32), with_gradient(640)]
    grads = [p.grad.clone() for p in parameters if p.grad is not None]
    exact = sum(float(g.double().square().sum()) for g in grads) ** 0.5
    assert float(clip_gradients_(parameters, 2.0)) == pytest.approx(exact, rel=1e-7)
    for p, g in zip(parameters, grads, strict=True):
        torch.testing.assert_close(p.grad, g * (2.0 / exact), rtol=1e-6, atol=0)


def test_gradients_below_the_limit_keep_their_bits() -> None:
    small, empty = with_gradient(5, 3), with_gradient(0, 3)  # as of a device without experts
    assert small.grad is not None
    before = small.grad.clone()
    assert float(clip_gradients_([small, empty], 100.0)) == pytest.approx(float(before.norm()))
    assert torch.equal(small.grad, before)
