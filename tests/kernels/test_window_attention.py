"""Attention of whole dialogues equals that of all pairs under a mask, at a cost that is linear."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from microturn.evaluation.bench.matmul_replay import ProductRecorder
from microturn.kernels.window_attention import Window, block_mask, window_attention

CPU = torch.device("cpu")


def all_pairs(
    q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor] | None, reach: int
) -> Tensor:
    """The definition: every pair, masked."""
    T, E = q.shape[2], k.shape[2] - q.shape[2]
    distance = torch.arange(E, E + T)[:, None] - torch.arange(E + T)
    allowed = (distance >= 0) & (distance < reach)
    if sinks is not None:
        allowed = F.pad(allowed, (sinks[0].shape[1], 0), value=True)
        k, v = (
            torch.cat([s.expand(len(q), -1, -1, -1), x], dim=2)
            for s, x in zip(sinks, (k, v), strict=True)
        )
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ v


@given(
    T=st.integers(1, 420),
    reach=st.integers(1, 330),
    n_earlier=st.integers(0, 200),
    n_sinks=st.integers(0, 3),
    heads=st.sampled_from([(4, 4), (4, 1), (6, 2)]),
)
def test_output_and_gradients_are_those_of_all_pairs(
    T: int, reach: int, n_earlier: int, n_sinks: int, heads: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    H, G = heads
    n_earlier = min(n_earlier, reach)  # the window holds no more
    sizes = [(2, H, T, 8), (2, G, n_earlier + T, 8), (2, G, n_earlier + T, 8)]
    sizes += [(G, n_sinks, 8)] * 2 if n_sinks else []
    inputs = [torch.randn(size, requires_grad=True) for size in sizes]
    q, k, v = inputs[:3]
    sinks = (inputs[3], inputs[4]) if n_sinks else None
    window = Window.plan(T, reach, n_sinks=n_sinks, head_dim=8, device=CPU, n_earlier=n_earlier)
    weights = torch.randn(2, H, T, 8)
    results = []
    for y in (window_attention(q, k, v, sinks, window), all_pairs(q, k, v, sinks, reach)):
        results.append([y, *torch.autograd.grad((y * weights).sum(), inputs)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@given(
    T=st.integers(1, 700),
    reach=st.integers(1, 500),
    n_earlier=st.integers(0, 300),
    n_sinks=st.sampled_from([0, 1, 4, 130]),
)
def test_the_mask_of_blocks_is_that_of_all_pairs(
    T: int, reach: int, n_earlier: int, n_sinks: int
) -> None:
    mine = block_mask(T, reach, n_sinks=n_sinks, device=CPU, n_earlier=n_earlier)
    theirs = create_block_mask(mine.mask_mod, None, None, T, n_sinks + n_earlier + T, device="cpu")
    for name in ("kv_num_blocks", "full_kv_num_blocks"):
        assert torch.equal(getattr(mine, name), getattr(theirs, name)), name
    assert torch.equal(mine.to_dense(), theirs.to_dense())
    assert mine.shape == theirs.shape


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_the_mask_of_blocks_computes_the_same_attention() -> None:
    torch.manual_seed(0)
    T, E, S, reach = 300, 50, 2, 140
    q, k, v = (torch.randn(2, h, n, 16) for h, n in ((4, T), (2, E + T), (2, E + T)))
    sinks = (torch.randn(2, S, 16), torch.randn(2, S, 16))
    mask = block_mask(T, reach, n_sinks=S, device=CPU, n_earlier=E)
    keys, values = (
        torch.cat([s.expand(2, -1, -1, -1), x], dim=2) for s, x in zip(sinks, (k, v), strict=True)
    )
    with torch.no_grad():
        y = flex_attention(q, keys, values, block_mask=mask, enable_gqa=True)
    torch.testing.assert_close(y, all_pairs(q, k, v, sinks, reach), rtol=1e-4, atol=1e-5)


def products(T: int, reach: int) -> int:
    """FLOPs of the products of forward and backward."""
    q, k, v = (torch.randn(1, h, T, 8, requires_grad=True) for h in (2, 2, 2))
    window = Window.plan(T, reach, n_sinks=0, head_dim=8, device=CPU)
    with ProductRecorder() as recorder:
        window_attention(q, k, v, None, window).sum().backward()
    return sum(product.flops for product in recorder.products)


@pytest.mark.parametrize("reach", [64, 320])
def test_arithmetic_grows_with_the_length(reach: int) -> None:
    """Eight times the length: 8 times the products; 64 times with a mask of all pairs."""
    assert products(32 * reach, reach) < 9.2 * products(4 * reach, reach)
