import pytest
import torch

from microturn.evaluation.bench.kernels_measure import relative_error
from microturn.kernels.router import route_reference
from microturn.kernels.router_triton import route_triton
from microturn.model.config import MoEConfig
from microturn.model.moe import MixtureOfExperts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize(
    ("d_model", "n_experts", "n_shared", "top_k"),
    [(16, 4, 1, 2), (37, 5, 0, 3), (200, 9, 2, 1), (1, 1, 1, 1)],
)
def test_matches_reference(
    d_model: int,
    n_experts: int,
    n_shared: int,
    top_k: int,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    weight = torch.randn(n_experts + n_shared, d_model, device=device)
    bias = 0.1 * torch.randn(n_experts, device=device)
    x = torch.randn(6, d_model, dtype=dtype, device=device)
    got = route_triton(x, weight, bias, top_k, 2.5)
    expected = route_reference(x, weight, bias, top_k, 2.5)
    assert torch.equal(got[0], expected[0])
    assert relative_error(got[1], expected[1]) < 1e-5
    assert got[2].shape == (6, n_shared)
    assert not n_shared or relative_error(got[2], expected[2]) < 1e-5
    alone = torch.cat([route_triton(x[i : i + 1], weight, bias, top_k, 2.5)[1] for i in range(6)])
    assert torch.equal(alone, got[1])


def test_is_the_router_of_the_model(device: torch.device) -> None:
    moe = MixtureOfExperts(24, MoEConfig(n_experts=6, top_k=2, n_shared=1, d_expert=8)).eval()
    moe = moe.to(device)
    x = torch.randn(5, 24, device=device)
    with torch.no_grad():
        expected = moe.route(x)
        scale = float(moe.cfg.n_active)
        got = route_triton(x, moe.router.weight, moe.selection_bias, 2, scale)
    assert torch.equal(got[0], expected[0])
    assert relative_error(got[1], expected[1]) < 1e-5
    assert relative_error(got[2], expected[2]) < 1e-5


def test_nan_chooses_experts_that_exist(device: torch.device) -> None:
    weight, bias = torch.randn(6, 8, device=device), torch.zeros(5, device=device)
    x = torch.randn(3, 8, device=device)
    clean = route_triton(x, weight, bias, 3, 1.0)
    x[1] = torch.nan
    ids, w, _ = route_triton(x, weight, bias, 3, 1.0)
    assert sorted(ids[1].tolist()) == [0, 1, 2]
    assert torch.equal(ids[[0, 2]], clean[0][[0, 2]])
    assert torch.equal(w[[0, 2]], clean[1][[0, 2]])
