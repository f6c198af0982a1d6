"""How the kernels of `experts_triton` share the work for a number of tokens: the measured table."""

from typing import NamedTuple

import torch
from torch import Tensor

# Up to this many tokens a program owns one pair, beyond it one expert. H100, 64 experts, top-4,
# both kernels at T=8: 33.2 us by pair, 38.4 us by expert.
PAIR_TOKENS = 8


class Tile(NamedTuple):
    """Share of a weight matrix that one program owns, and the depth of its pipeline."""

    columns: int
    depth: int  # along the reduced dimension
    warps: int
    stages: int


class Streams(NamedTuple):
    """How weights flow where programs own pairs. None of it changes a bit.

    At one token of four experts both kernels have 64 programs, half as many as an H100 has
    multiprocessors, and the second waits for all of the first.
    """

    by_slot: bool = False  # down: a program per pair and not per token, and one more launch to sum
    ahead: bool = False  # the up kernel asks the L2 for the down weights of its pairs
    overlap: bool = False  # the down kernel is launched while the up kernel still runs


# The fastest of some twenty tiles each at d=1024, 64 experts, top-4, ff=512, bf16 on an H100 whose
# copy runs at 2,973 GB/s. Whole layers then took 13.9 us at T=1 (30 % of the copy), 16.3 at 2,
# 22.1 at 4 (71 %), 33.7 at 8 (81 %), 53.5 at 16, 68.4 at 32 (86 %), 77.6 at 64, 149.4 at 256.
# Other ways for weights to flow have not been timed yet: `microturn bench gpu-kernels` does it.
_TILES = (
    (1, (Tile(32, 128, 4, 6), Tile(16, 256, 4, 4)), Streams()),
    (2, (Tile(32, 64, 4, 6), Tile(16, 256, 4, 4)), Streams()),
    (4, (Tile(64, 64, 8, 4), Tile(32, 128, 4, 6)), Streams()),
    (PAIR_TOKENS, (Tile(128, 64, 4, 4), Tile(64, 128, 4, 4)), Streams()),
    (24, (Tile(64, 64, 8, 4), Tile(64, 128, 4, 3)), Streams()),
    (256, (Tile(128, 64, 4, 4), Tile(64, 128, 4, 3)), Streams()),
)
_PLAIN = Tile(32, 32, 4, 2)  # without tensor cores: small, so that nothing spills


def plan_for(n_tokens: int, dtype: torch.dtype) -> tuple[tuple[Tile, Tile], Streams]:
    """Return the tiles of the up and the down kernel, and how weights flow."""
    row = next((row for row in _TILES if n_tokens <= row[0]), _TILES[-1])
    return (_PLAIN, _PLAIN) if dtype == torch.float32 else row[1], row[2]


def numbers_ahead(down: Tensor, threads: int) -> int:
    """Numbers of an expert of `down` (E, F, D) per thread; 0 where those are no whole 16 bytes."""
    numbers, rest = divmod(down[0].numel(), threads)
    return 0 if rest or numbers * down.element_size() % 16 else numbers


def takes_hints(weights: Tensor) -> bool:
    """Whether the device knows early launches and requests to the L2: from Hopper on."""
    return weights.is_cuda and torch.cuda.get_device_capability(weights.device) >= (9, 0)
