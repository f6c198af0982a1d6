"""dMel frames to vectors: the sum of one row of the table per (band, bin), then RMSNorm.

N frames of M bands, D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.kernels.rms_norm import rms_norm


def dmel_bag_reference(
    ids: Tensor, table: Tensor, weight: Tensor, eps: float | None = None
) -> Tensor:
    """Bin ids (N, M), table (M * bins, D), norm weight (D,) to (N, D)."""
    return rms_norm(F.embedding_bag(_rows(ids, table), table, mode="sum"), weight, eps)


def dmel_bag_trained(
    ids: Tensor, table: Tensor, weight: Tensor, eps: float | None = None
) -> Tensor:
    """Compute `dmel_bag_reference` for a backward pass on a GPU."""
    bags: Tensor = _Bag.apply(_rows(ids, table), table)  # type: ignore[no-untyped-call]
    return rms_norm(bags, weight, eps)


def _rows(ids: Tensor, table: Tensor) -> Tensor:
    """Rows of the table that a frame sums, (N, M)."""
    bins = table.shape[0] // ids.shape[1]
    return ids.long() + torch.arange(ids.shape[1], device=ids.device) * bins


class _Bag(torch.autograd.Function):
    """Sums (N, D) of rows (N, M) of a table (V, D); its backward is one product.

    That of `embedding_bag` sorts all N * M ids, in dozens of launches. The product is in the type
    of autocast, as those of the gradients of all other weights are.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.n_rows, device = len(table), table.device.type
        half = torch.is_autocast_enabled(device)
        ctx.product = torch.get_autocast_dtype(device) if half else table.dtype
        return F.embedding_bag(rows, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (rows,) = ctx.saved_tensors
        chosen = grad.new_zeros(len(rows), ctx.n_rows, dtype=ctx.product)
        chosen.scatter_(1, rows, 1.0)  # a frame has one bin of each band
        return None, (chosen.T @ grad.to(ctx.product)).to(grad.dtype)
