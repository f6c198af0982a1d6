"""Energy voice activity: levels, clicks, dips, spans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.activity import Activity, longest_gap, merge, overlap, subtract

RATE = 16_000
CONFIG = ActivityConfig()


def bursts(*spans: tuple[float, float], level: float = 0.1, duration_s: float = 3.0) -> np.ndarray:
    audio = np.zeros(round(duration_s * RATE), np.float32)
    for start, end in spans:
        n = round((end - start) * RATE)
        first = round(start * RATE)
        audio[first : first + n] = level * np.random.default_rng(0).standard_normal(n)
    return audio


def runs(audio: np.ndarray) -> list[tuple[float, float]]:
    found = Activity.of(audio, RATE, CONFIG).runs
    return [(round(start, 3), round(end, 3)) for start, end in found]


def test_bursts_are_found_where_they_are() -> None:
    assert runs(bursts((0.5, 1.0), (2.0, 2.4))) == [(0.5, 1.0), (2.0, 2.4)]


def test_silence_and_empty_audio_hold_no_speech() -> None:
    assert runs(np.zeros(RATE, np.float32)) == []
    assert runs(np.zeros(0, np.float32)) == []


def test_hiss_below_the_absolute_threshold_is_no_speech() -> None:
    assert runs(bursts((0.0, 3.0), level=0.001)) == []


def test_residue_far_below_the_speech_of_the_same_recording_is_no_speech() -> None:
    loud, residue = bursts((0.5, 1.0), level=0.7), bursts((1.0, 3.0), level=0.0075)
    assert runs(residue) == [(1.0, 3.0)]
    assert runs(loud + residue) == [(0.5, 1.0)]


def test_clicks_are_dropped_and_dips_are_bridged() -> None:
    assert runs(bursts((0.5, 0.52))) == []
    assert runs(bursts((0.5, 1.0), (1.05, 1.5))) == [(0.5, 1.5)]
    assert runs(bursts((0.5, 1.0), (1.2, 1.5))) == [(0.5, 1.0), (1.2, 1.5)]


def test_utterances_bridge_word_gaps_and_nothing_more() -> None:
    audio = bursts((0.5, 0.8), (1.0, 1.3), (1.8, 2.1))
    found = Activity.of(audio, RATE, CONFIG).utterances
    assert [(round(a, 3), round(b, 3)) for a, b in found] == [(0.5, 1.3), (1.8, 2.1)]


def test_onset_is_the_first_sound_inside_a_span() -> None:
    activity = Activity.of(bursts((0.5, 0.8), (1.0, 1.3)), RATE, CONFIG)
    assert activity.onset_in(0.0, 3.0) == pytest.approx(0.5)
    assert activity.onset_in(0.6, 3.0) == pytest.approx(0.6)  # already sounding
    assert activity.onset_in(0.8, 0.9) is None
    assert activity.onset_in(1.4, 3.0) is None


def test_seconds_in_a_span_count_part_of_a_run() -> None:
    activity = Activity.of(bursts((0.5, 1.0)), RATE, CONFIG)
    assert activity.seconds_in(0.8, 2.0) == pytest.approx(0.2)


def test_a_frame_length_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activity\.frame_ms=0 must be above 0"):
        ActivityConfig(frame_ms=0)


spans = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=6,
)


@given(spans, spans)
def test_subtraction_keeps_exactly_what_lies_outside(
    base: list[tuple[float, float]], holes: list[tuple[float, float]]
) -> None:
    base = merge(base, 0.5)
    left = subtract(base, holes)
    for moment in np.arange(0.5, 80):
        inside = any(a < moment < b for a, b in base) and not any(a < moment < b for a, b in holes)
        assert any(a < moment < b for a, b in left) == inside


@given(spans)
def test_merged_spans_are_apart_and_cover_the_same(base: list[tuple[float, float]]) -> None:
    merged = merge(base, 2)
    assert all(b[0] - a[1] >= 2 - 1e-6 for a, b in zip(merged, merged[1:], strict=False))
    assert all(any(overlap(one, whole) == one[1] - one[0] for whole in merged) for one in base)


def test_longest_gap_counts_silence_at_both_ends() -> None:
    assert longest_gap([(1.0, 2.0), (2.5, 3.0)], 0.2, 3.0) == pytest.approx(0.8)
    assert longest_gap([], 0.0, 2.0) == pytest.approx(2.0)
    assert longest_gap([(0.0, 5.0)], 1.0, 2.0) == 0.0
