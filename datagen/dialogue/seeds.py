"""Where every random number of a dialogue comes from: its seed, its index and a purpose."""

import zlib

import numpy as np


def rng_for(seed: int, index: int, purpose: str) -> np.random.Generator:
    """A generator that depends on these three alone; a new purpose changes no other draw."""
    sequence = np.random.SeedSequence([seed, index], spawn_key=(zlib.crc32(purpose.encode()),))
    return np.random.Generator(np.random.PCG64(sequence))
