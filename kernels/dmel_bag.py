"""dMel frames to vectors: the sum of one row of the table per (band, bin), then RMSNorm.

N frames of M bands, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.kernels.rms_norm import rms_norm


def dmel_bag_reference(
    ids: Tensor, table: Tensor, weight: Tensor, eps: float | None = None
) -> Tensor:
    """Bin ids (N, M), table (M * bins, D), norm weight (D,) to (N, D)."""
    bins = table.shape[0] // ids.shape[1]
    index = ids.long() + torch.arange(ids.shape[1], device=ids.device) * bins
    return rms_norm(F.embedding_bag(index, table, mode="sum"), weight, eps)
