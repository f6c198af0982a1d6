"""Whether the kernels of this folder can serve a call."""

from importlib.util import find_spec

import torch
from torch import Tensor

_HAS_TRITON = find_spec("triton") is not None


def has_kernels(x: Tensor) -> bool:
    """On a GPU, with Triton, and without gradients: the kernels for few tokens have no backward."""
    return x.is_cuda and _HAS_TRITON and not torch.is_grad_enabled()
