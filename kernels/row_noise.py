"""Random numbers of the rows of a batch, each row from a seed of its own: the definition.

The numbers of a place depend on the seed and the place alone: neither on other rows nor on N. B
rows, N micro-turns, P positions of a micro-turn, `size` numbers of a position, R draws.
"""

import torch
from torch import Tensor

_CHUNK = 32  # micro-turns


def row_noise_reference(
    seeds: list[int],
    shape: tuple[int, int, int],
    n_uniform: int,
    n_normal: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Uniform (n_uniform, B, N, P) and standard normal (n_normal, B, N, P, size) in fp32.

    A generator's numbers depend on how many are drawn at once; therefore it always draws for
    `_CHUNK` micro-turns, the last ones for nobody.
    """
    (N, P, size), B = shape, len(seeds)
    uniform = torch.empty(n_uniform, B, N, P, device=device)
    normal = torch.empty(n_normal, B, N, P, size, device=device)
    numbers = torch.empty(_CHUNK, P, n_uniform, device=device)
    patches = torch.empty(_CHUNK, P, size, device=device)
    generator = torch.Generator(device)
    for row, seed in enumerate(seeds):
        generator.manual_seed(seed)
        for first in range(0, N, _CHUNK):
            chunk = slice(first, min(N, first + _CHUNK))
            n = chunk.stop - first
            numbers.uniform_(generator=generator)
            uniform[:, row, chunk] = numbers[:n].movedim(-1, 0)
            for draw in normal:
                # In place where all of it is used: these are the large ones.
                into = draw[row, chunk] if n == _CHUNK else patches
                into.normal_(generator=generator)
                if n < _CHUNK:
                    draw[row, chunk] = patches[:n]
    return uniform, normal
