import pytest
import torch
from torch import Tensor

from microturn.evaluation.bench.kernels_measure import relative_error
from microturn.kernels.ring_attention import attention_reference
from microturn.kernels.ring_attention_triton import ring_attention_triton

WINDOW, RING = 70, 77


class Rows:
    """B rows that have seen different numbers of positions, two key/value heads."""

    def __init__(
        self, seen: list[int], T: int, dtype: torch.dtype, device: torch.device, n_sinks: int = 0
    ) -> None:
        H, G, K, B = 6, 2, 20, len(seen)
        self.n_sinks = n_sinks
        g = torch.Generator().manual_seed(T)
        self.qkv = torch.randn(B, T, (H + 2 * G) * K, generator=g).to(device, dtype)
        self.weights = tuple((1 + torch.rand(K, generator=g)).to(device) for _ in range(2))
        turn = torch.rand(B, T, K // 2, generator=g) * 6
        self.angles = (turn.cos().to(device), turn.sin().to(device))
        self.positions = (torch.tensor(seen)[:, None] + torch.arange(T)).to(device)
        ring = torch.randn(2, B, G, RING + n_sinks, K, generator=g).to(device, dtype)
        self.cache = (ring[0].clone(), ring[1].clone())

    def run(self, rows: slice = slice(None)) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        cache = (self.cache[0][rows].clone(), self.cache[1][rows].clone())
        angles = (self.angles[0][rows], self.angles[1][rows])
        args = (self.weights, angles, self.positions[rows], cache, WINDOW, 1e-6, self.n_sinks)
        return ring_attention_triton(self.qkv[rows], *args), cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize(("T", "n_sinks"), [(1, 0), (7, 0), (1, 3), (7, 60)])
def test_matches_reference(T: int, n_sinks: int, dtype: torch.dtype, device: torch.device) -> None:
    """A fresh row, one before, one at and one far beyond the end of its ring."""
    rows = Rows([0, 40, RING - 3, 5 * RING + 11], T, dtype, device, n_sinks)
    out, cache = rows.run()
    ring = (rows.cache[0].clone(), rows.cache[1].clone())
    expected = attention_reference(
        rows.qkv, rows.weights, rows.angles, rows.positions, ring, WINDOW, 1e-6, n_sinks
    )
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    assert relative_error(out, expected) < limit
    assert relative_error(cache[0], ring[0]) < limit
    assert relative_error(cache[1], ring[1]) < limit


def test_a_row_has_the_same_bits_alone_and_in_company(device: torch.device) -> None:
    rows = Rows([0, 40, 500], 2, torch.float32, device)
    together, _ = rows.run()
    alone = torch.cat([rows.run(slice(i, i + 1))[0] for i in range(3)])
    assert torch.equal(together, alone)


def test_sinks_are_read_by_every_query_and_written_by_none(device: torch.device) -> None:
    rows = Rows([0, 500], 2, torch.float32, device, n_sinks=3)
    before, cache = rows.run()
    assert torch.equal(cache[0][:, :, RING:], rows.cache[0][:, :, RING:])
    assert torch.equal(cache[1][:, :, RING:], rows.cache[1][:, :, RING:])
    rows.cache[1][:, :, RING:] += 1.0
    moved = rows.run()[0] - before
    assert (moved > 0).all()
    assert (moved < 1).all()


def test_what_a_former_session_left_is_never_read(device: torch.device) -> None:
    rows = Rows([3], 2, torch.float32, device)
    rows.cache[0][:, :, 3:] = torch.nan
    rows.cache[1][:, :, 3:] = torch.nan
    assert rows.run()[0].isfinite().all()
