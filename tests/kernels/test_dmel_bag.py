import pytest
import torch

from microturn.evaluation.bench.kernels_measure import relative_error
from microturn.kernels.dmel_bag import dmel_bag_reference, dmel_bag_trained
from microturn.kernels.dmel_bag_triton import dmel_bag_triton
from microturn.model.embed import DMelEmbedding
from microturn.model.streams.mel import DMEL_BINS


@pytest.mark.parametrize(("frames", "bands", "width"), [(1, 80, 40), (5, 80, 130), (3, 7, 16)])
def test_bags_are_those_of_torch(frames: int, bands: int, width: int, device: torch.device) -> None:
    ids = torch.randint(DMEL_BINS, (frames, bands), device=device, dtype=torch.uint8)
    table = torch.randn(bands * DMEL_BINS, width, device=device)
    weight = torch.randn(width, device=device)
    expected = dmel_bag_reference(ids, table, weight, 1e-6)
    assert relative_error(dmel_bag_triton(ids, table, weight, 1e-6), expected) < 1e-6


def test_a_frame_does_not_depend_on_the_others(device: torch.device) -> None:
    ids = torch.randint(DMEL_BINS, (6, 80), device=device, dtype=torch.uint8)
    table, weight = torch.randn(80 * DMEL_BINS, 24, device=device), torch.ones(24, device=device)
    together = dmel_bag_triton(ids, table, weight, 1e-6)
    for i in range(len(ids)):
        assert torch.equal(dmel_bag_triton(ids[i : i + 1], table, weight, 1e-6)[0], together[i])


def test_the_reference_is_what_the_model_computes() -> None:
    embedding = DMelEmbedding(32, 80, group=1)
    ids = torch.randint(DMEL_BINS, (2, 4, 80), dtype=torch.uint8)
    eps = torch.finfo(torch.float32).eps  # that of nn.RMSNorm
    flat = dmel_bag_reference(ids.flatten(0, 1), embedding.table, embedding.norm.weight, eps)
    assert torch.equal(embedding(ids), flat.view(2, 4, 32))


def test_gradients_in_training_are_those_of_torch(device: torch.device) -> None:
    ids = torch.randint(DMEL_BINS, (7, 5), device=device, dtype=torch.uint8)
    grad = torch.randn(7, 24, device=device)
    found = []
    for bag in (dmel_bag_reference, dmel_bag_trained):
        torch.manual_seed(0)
        table = torch.randn(5 * DMEL_BINS, 24, device=device, requires_grad=True)
        weight = torch.rand(24, device=device).requires_grad_()
        frames = bag(ids, table, weight)
        frames.backward(grad)
        found.append((frames.detach(), table.grad, weight.grad))
    (a, *grads), (b, *expected) = found
    assert torch.equal(a, b)
    for one, other in zip(grads, expected, strict=True):
        assert one is not None
        assert other is not None
        assert relative_error(one, other) < 1e-6
