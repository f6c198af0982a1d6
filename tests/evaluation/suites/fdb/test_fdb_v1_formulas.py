"""Full-Duplex-Bench v1 restated: hand-made outputs with known numbers, and the scripts' arithmetic.

The vectors were worked out by hand from the published scripts, statement by statement.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from microturn.evaluation.suites.fdb.quirks import ORIGINAL, Quirks
from microturn.evaluation.suites.fdb.v1_formulas import (
    MAX_JSD,
    Chunk,
    after,
    backchannels,
    divergence,
    histogram,
    jensen_shannon,
    latency,
    takes_turn,
)


def chunks(*rows: tuple[float, float | None]) -> list[Chunk]:
    return [Chunk(text=f"w{i}", start_s=a, end_s=b) for i, (a, b) in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ((), False),  # says nothing
        (((1.0, 1.2),), False),  # a short word
        (((1.0, 1.9),), False),
        (((1.0, 2.0),), True),  # exactly one second is a turn
        (((1.0, 1.2), (1.3, 1.5), (1.6, 1.9)), False),  # three words in less than a second
        (((1.0, 1.1), (1.2, 1.3), (1.4, 1.5), (1.6, 1.7)), True),  # four words are a turn
        (((1.0, 1.2), (7.0, 7.2)), True),  # two words far apart: from first to last
        (((1.0, 1.2), (1.9, None)), False),  # no end: its beginning counts
        (((1.0, None),), False),
    ],
)
def test_what_takes_a_turn(rows: tuple[tuple[float, float | None], ...], taken: bool) -> None:
    assert takes_turn(chunks(*rows)) is taken


def test_latency_is_from_the_end_of_the_turn_to_the_first_word() -> None:
    said = chunks((3.0, 3.4), (3.5, 4.6))
    assert latency(said, 2.4) == pytest.approx(0.6)
    assert latency(said, 3.0) == 0.0
    # A reply that begins before the end is as fast as can be, in the scripts.
    assert latency(said, 3.5) == 0.0
    assert latency(said, 3.5, Quirks(early_is_zero=False)) is None
    assert latency(chunks((3.0, 3.3)), 2.4) is None  # no turn, no latency
    assert latency([], 2.4) is None
    # Two replies: the first of them counts, even where it answers something else.
    assert latency(chunks((0.5, 0.9), (3.0, 4.0)), 2.4) == 0.0


def test_cropping_at_the_end_of_an_interruption_keeps_what_sounds_later() -> None:
    said = chunks((1.0, 2.0), (2.5, 3.5), (4.0, None), (5.0, 6.0))
    cropped = after(said, 3.0)
    assert [(chunk.start_s, chunk.end_s) for chunk in cropped] == [
        (3.0, 3.5),
        (4.0, None),
        (5.0, 6.0),
    ]
    assert after(said, 6.0) == []


# spans, words, taken, spans left: scripts of 2026; then of 2025, where a taken turn drops them
SHORT, LONG, WORDY = (1.0, 1.4), (4.0, 5.2), (7.0, 7.8)


@pytest.mark.parametrize(
    ("spans", "rows", "taken", "left", "left_2025"),
    [
        ([], (), False, 0, 0),
        ([SHORT], ((1.0, 1.4),), False, 1, 1),
        ([LONG], ((4.0, 5.2),), True, 1, 0),  # a second or more, whatever it says
        ([WORDY], ((7.0, 7.2), (7.3, 7.5), (7.6, 7.8)), True, 1, 0),  # three words
        ([LONG, SHORT], ((4.0, 5.2), (1.0, 1.4)), False, 2, 1),  # the last one decides
        ([SHORT, LONG], ((1.0, 1.4), (4.0, 5.2)), True, 2, 0),
        ([SHORT, (2.0, 5.5)], ((1.0, 1.4),), True, 1, 1),  # above 3 s: a turn, and no more is read
        ([(2.0, 5.5), SHORT], (), True, 0, 0),
        ([(2.0, 5.0)], (), True, 1, 0),  # exactly 3 s is not above it
    ],
)
def test_backchannels_as_the_scripts_count_them(
    spans: list[tuple[float, float]],
    rows: tuple[tuple[float, float], ...],
    taken: bool,
    left: int,
    left_2025: int,
) -> None:
    found = backchannels(spans, chunks(*rows))
    assert (found.takes_turn, len(found.spans)) == (taken, left)
    older = backchannels(spans, chunks(*rows), Quirks(taken_turn_forgets=True))
    assert (older.takes_turn, len(older.spans)) == (taken, left_2025)


def test_without_the_quirk_a_turn_once_taken_stays_taken() -> None:
    spans = [LONG, SHORT]
    assert not backchannels(spans, [], ORIGINAL).takes_turn
    assert backchannels(spans, [], Quirks(last_segment_decides=False)).takes_turn


def test_words_are_found_in_a_span_as_the_scripts_look_for_them() -> None:
    # Inside, over the end, over the beginning: all three are its words, so it is no backchannel.
    said = chunks((0.8, 1.1), (1.15, 1.25), (1.3, 1.6))
    assert backchannels([SHORT], said).takes_turn
    # A word without an end is left out when it begins before the span is over.
    assert not backchannels([SHORT], [*said[:2], *chunks((1.3, None))]).takes_turn


def test_a_histogram_counts_every_bin_that_a_span_touches() -> None:
    shares = histogram([(0.25, 0.65)], 1.1)  # bins 1 to 3 of 6
    assert shares == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0, 0], abs=1e-9)
    assert len(histogram([], 10.0)) == 51
    assert histogram([(9.9, 12.0)], 1.0).sum() == pytest.approx(1.0)  # beyond the end: nothing


def test_divergence_of_no_backchannel_is_one_although_less_is_the_most() -> None:
    assert divergence([], [0.5, 0.5], 10.0) == 1.0
    assert divergence([], [0.5, 0.5], 10.0, Quirks(none_is_one=False)) == MAX_JSD
    assert pytest.approx(0.8326, abs=1e-4) == MAX_JSD


def test_divergence_of_the_same_times_is_nothing_and_of_others_is_the_most() -> None:
    reference = histogram([(2.0, 2.5)], 10.0)
    assert divergence([(2.0, 2.5)], list(reference), 10.0) == pytest.approx(0.0, abs=1e-6)
    far = divergence([(8.0, 8.5)], list(reference), 10.0)
    assert far == pytest.approx(MAX_JSD, abs=1e-3)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=40),
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=40),
)
def test_jensen_shannon_is_scipys(p: list[float], q: list[float]) -> None:
    n = min(len(p), len(q))
    ours = jensen_shannon(np.array(p[:n]), np.array(q[:n]))
    assert ours == pytest.approx(float(jensenshannon(p[:n], q[:n])), abs=1e-7)
    assert 0.0 <= ours <= math.sqrt(math.log(2.0)) + 1e-12


@given(st.integers(2, 60), st.lists(st.tuples(st.floats(0, 9), st.floats(0.05, 0.9)), max_size=6))
def test_divergence_is_the_scripts_arithmetic(
    n_bins: int, drawn: list[tuple[float, float]]
) -> None:
    """Their statements, one after the other, on numpy and scipy."""
    from scipy.interpolate import interp1d

    spans = [(start, start + length) for start, length in drawn]
    reference = (np.arange(n_bins) % 7 + 1.0) / 10
    duration_s = 10.0
    ours = divergence(spans, list(reference), duration_s)
    if not spans:
        assert ours == 1.0
        return
    counts = [0] * (int(duration_s / 0.2) + 1)
    for start, end in spans:
        for i in range(int(start / 0.2), int(end / 0.2) + 1):
            if i < len(counts):
                counts[i] += 1
    own = np.array(counts) + 1e-10
    own = own / own.sum()
    resize = interp1d(np.linspace(0, 1, n_bins), reference, kind="linear")
    theirs = jensenshannon(own, resize(np.linspace(0, 1, len(own))))
    assert ours == pytest.approx(float(theirs), abs=1e-6)
