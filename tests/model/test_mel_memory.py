"""A memory of micro-turns changes nothing but the time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from microturn.model.streams import FineMelCache, StreamLayout, fine_mel, quantise_fine

LAYOUT = StreamLayout()
SPM = LAYOUT.samples_per_micro_turn


@given(
    words=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=6),
    shift=st.integers(0, SPM),
    most=st.integers(1, 8),
)
def test_remembered_levels_are_those_that_are_computed(
    words: list[tuple[int, int]], shift: int, most: int
) -> None:
    rng = np.random.default_rng(0)
    units = (0.1 * rng.standard_normal((4, 2 * SPM))).astype(np.float32)
    audio = np.zeros(13 * SPM, np.float32)
    for start, unit in words:
        at = start * SPM + (shift if unit == 3 else 0)
        audio[at : at + 2 * SPM] += units[unit]
    pcm = np.rint(audio * 32768).astype(np.int16)
    expected = quantise_fine(fine_mel(pcm.astype(np.float32) / 32768, LAYOUT))
    memory = FineMelCache(LAYOUT, max_entries=most)
    for _ in range(2):
        assert np.array_equal(memory(pcm), expected)
