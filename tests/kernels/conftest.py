"""Kernels run in Triton's interpreter where there is no GPU; what they forget to write is NaN."""

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from microturn.evaluation.bench.kernels_measure import poisoned


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    torch.manual_seed(0)
    with poisoned():
        yield


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
