# mypy: ignore-errors
"""`row_noise.row_noise_reference` in two launches, with numbers of its own.

A generator of torch takes several launches for each row and 32 micro-turns: 576 for a step of 32
dialogues. Here number i of a draw comes from word i % 4 of Philox-4x32-10 (Salmon et al. 2011) of
the counter (i / 4, draw, 0 or 1, 0) under the row's seed as key: the same bits in any batch.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256  # counters of one program, four numbers each


@triton.jit
def _noise_kernel(seeds, out, B, SIZE, NORMAL: tl.constexpr, BLOCK: tl.constexpr):
    """out (draws, B, SIZE): uniform in [0, 1), or standard normal by Box and Muller."""
    i_row = tl.program_id(1)  # draw * B + row
    seed = tl.load(seeds + i_row % B)
    first = tl.program_id(0) * BLOCK
    counter = first + tl.arange(0, BLOCK)
    zero = counter * 0
    a, b, c, d = tl.philox(seed, counter, zero + i_row // B, zero + NORMAL, zero)
    a, b = tl.uint_to_uniform_float(a), tl.uint_to_uniform_float(b)
    c, d = tl.uint_to_uniform_float(c), tl.uint_to_uniform_float(d)
    if NORMAL:
        a, b = tl.pair_uniform_to_normal(a, b)
        c, d = tl.pair_uniform_to_normal(c, d)
    numbers = tl.interleave(tl.interleave(a, c), tl.interleave(b, d))  # a, b, c, d of a counter
    o_x = 4 * first + tl.arange(0, 4 * BLOCK)
    tl.store(out + i_row.to(tl.int64) * SIZE + o_x, numbers, mask=o_x < SIZE)


def row_noise_triton(
    seeds: list[int],
    shape: tuple[int, int, int],
    n_uniform: int,
    n_normal: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Uniform (n_uniform, B, N, P) and standard normal (n_normal, B, N, P, size) in fp32."""
    B, (N, P, size) = len(seeds), shape
    keys = torch.from_numpy(np.array(seeds, dtype=np.uint64).view(np.int64)).to(device)
    uniform = torch.empty(n_uniform, B, N, P, device=device)
    normal = torch.empty(n_normal, B, N, P, size, device=device)
    for out, is_normal in ((uniform, 0), (normal, 1)):
        numbers = out[0, 0].numel()
        grid = (triton.cdiv(numbers, 4 * _BLOCK), len(out) * B)
        _noise_kernel[grid](keys, out, B, numbers, NORMAL=is_normal, BLOCK=_BLOCK)
    return uniform, normal
