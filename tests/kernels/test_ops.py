"""The dispatcher: light to import, and PyTorch where there is no kernel for a call."""

import subprocess
import sys

import torch

from microturn.kernels import ops
from microturn.kernels.dmel_bag import dmel_bag_reference


def test_importing_the_dispatcher_imports_no_triton() -> None:
    code = "import sys, microturn.kernels.ops; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_call_with_gradients_has_a_backward(device: torch.device) -> None:
    """The kernels have none, so PyTorch serves wherever gradients are recorded."""
    table = torch.randn(80 * 16, 8, device=device, requires_grad=True)
    weight = torch.ones(8, device=device, requires_grad=True)
    ids = torch.zeros(3, 80, dtype=torch.uint8, device=device)
    assert not ops.has_kernels(table)
    frames = ops.dmel_bag(ids, table, weight)
    assert torch.equal(frames, dmel_bag_reference(ids, table, weight))
    total, normed = ops.add_norm(frames, frames, weight)
    ops.swiglu(torch.cat([total, normed], dim=-1)).sum().backward()
    assert table.grad is not None
    assert weight.grad is not None
