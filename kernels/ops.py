"""The operations that the model calls; each takes a Triton kernel or PyTorch.

The kernels serve inference on a GPU: they have no backward. Noise, which has none, is drawn by one
in training, too. Importing this file imports no Triton.
Every operation has its definition in a file of its name and its kernel in `NAME_triton.py`.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from microturn.kernels.dmel_bag import dmel_bag_reference, dmel_bag_trained
from microturn.kernels.experts import experts_grouped, experts_reference, experts_trained
from microturn.kernels.pointwise import add_norm_reference, swiglu_reference
from microturn.kernels.ring_attention import Pair, Ring, ring_attention_torch
from microturn.kernels.router import route_reference
from microturn.kernels.row_noise import row_noise_reference

# Up to this many tokens the kernels of `experts_triton` serve, above it the grouped matmul. H100,
# d=1024, 64 experts, top-4, ff=512, bf16: 89 against 169 us at 128 tokens, 149 against 175 at 256.
DECODE_TOKENS = 256
_HAS_TRITON = find_spec("triton") is not None


def has_kernels(x: Tensor) -> bool:
    """Whether kernels serve this call: on a GPU, with Triton, and without gradients."""
    return x.is_cuda and _HAS_TRITON and not torch.is_grad_enabled()


def add_norm(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return x + y of (..., D) and its RMSNorm with the `eps` of `nn.RMSNorm`."""
    if not has_kernels(x):
        return add_norm_reference(x, y, weight)
    from microturn.kernels.pointwise_triton import add_norm_triton

    return add_norm_triton(x, y, weight, torch.finfo(x.dtype).eps)


def swiglu(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """silu(first half) * second half of (..., 2F); with a scale (N, S), S parts of (N, 2F)."""
    if not has_kernels(x):
        return swiglu_reference(x, scale)
    from microturn.kernels.pointwise_triton import swiglu_triton

    return swiglu_triton(x.flatten(0, -2), scale).view(*x.shape[:-1], -1)


def dmel_bag(ids: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """Bin ids (N, M), table (M * bins, D) and the weight of an RMSNorm (D,) to (N, D)."""
    if not has_kernels(table):
        trains = table.is_cuda and torch.is_grad_enabled()
        return (dmel_bag_trained if trains else dmel_bag_reference)(ids, table, weight)
    from microturn.kernels.dmel_bag_triton import dmel_bag_triton

    return dmel_bag_triton(ids, table, weight, torch.finfo(table.dtype).eps)


def row_noise(
    seeds: list[int],
    shape: tuple[int, int, int],
    *,
    n_uniform: int,
    n_normal: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Uniform (n_uniform, B, N, P) and normal (n_normal, B, N, P, size) of B seeds.

    shape is (N, P, size). The numbers of a seed and a place are always the same on a CPU, and
    others, always the same, on a GPU.
    """
    if device.type != "cuda" or not _HAS_TRITON:
        return row_noise_reference(seeds, shape, n_uniform, n_normal, device)
    from microturn.kernels.row_noise_triton import row_noise_triton

    return row_noise_triton(seeds, shape, n_uniform, n_normal, device)


def route(
    x_ND: Tensor, weight: Tensor, bias: Tensor, top_k: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Expert ids (N, K), their weights (N, K), the shared experts' weights (N, S)."""
    if not has_kernels(x_ND):
        return route_reference(x_ND, weight, bias, top_k, scale)
    from microturn.kernels.router_triton import route_triton

    return route_triton(x_ND, weight, bias, top_k, scale)


def experts(x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Weighted sum over each token's experts, (N, D)."""
    trains = torch.is_grad_enabled() and (x_ND.requires_grad or up.requires_grad)
    if not x_ND.is_cuda:
        same = x_ND.dtype == up.dtype and not torch.is_autocast_enabled("cpu")
        layers = experts_trained if trains and same else experts_reference
        return layers(x_ND, ids_NK, w_NK, up, down)
    if not _HAS_TRITON or trains or len(x_ND) > DECODE_TOKENS:
        return experts_grouped(x_ND, ids_NK, w_NK, up, down)
    from microturn.kernels.experts_triton import experts_decode

    return experts_decode(x_ND, ids_NK, w_NK, up, down)


def ring_attention(
    qkv: Tensor,
    weights: Pair,
    angles: Pair,
    positions: Tensor,
    cache: Pair,
    *,
    ring: Ring | None,
    window: int,
    n_sinks: int,
) -> Tensor:
    """qkv (B, T, (H + 2G) * K) of new positions (B, T) to (B, T, H * K); writes into `cache`.

    weights of the norms of queries and keys (K,); angles: cosine and sine (B, 1, T, K/2), fp32;
    cache: keys and values (B, G, C + S, K), contiguous. The kernel finds slots and masks by itself:
    where `has_kernels`, `ring` may be None.
    """
    if not has_kernels(qkv):
        assert ring is not None
        return ring_attention_torch(qkv, weights, angles, cache, ring)
    from microturn.kernels.ring_attention_triton import ring_attention_triton

    cos, sin = (angle[:, 0] for angle in angles)
    eps = torch.finfo(qkv.dtype).eps  # that of nn.RMSNorm
    return ring_attention_triton(qkv, weights, (cos, sin), positions, cache, window, eps, n_sinks)
