"""The router of a mixture of experts, for inference: the definition.

Select by sigmoid score plus a bias that only selection sees, then normalise the scores of the
selected and the shared experts jointly. N tokens, D width, E routed experts, S shared ones, K
selected.
"""

import torch
from torch import Tensor

from microturn.kernels import batch_invariant


def route_reference(
    x_ND: Tensor, weight: Tensor, bias: Tensor, top_k: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Expert ids (N, K), their weights (N, K), the shared experts' weights (N, S)."""
    E = len(bias)
    with torch.autocast(x_ND.device.type, enabled=False):
        logits = batch_invariant.linear(x_ND.float(), weight.float())
    scores = batch_invariant.elementwise(torch.sigmoid, logits)
    ids_NK = (scores[:, :E] + bias).topk(top_k, dim=-1).indices
    chosen = torch.cat([scores[:, :E].gather(1, ids_NK), scores[:, E:]], dim=-1)
    weights = chosen / (chosen.sum(-1, keepdim=True) + 1e-9) * scale
    return ids_NK, weights[:, :top_k], weights[:, top_k:]
