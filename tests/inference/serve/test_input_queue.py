"""The input queue of a session and the admission of another one, on clocks of the test."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.serve.admission import Admission, p99
from microturn.inference.serve.input_queue import InputQueue
from microturn.inference.serve.metrics import Histogram, Metrics
from microturn.model.streams import StreamLayout

LAYOUT = StreamLayout()
P = LAYOUT.micro_turn_s
SOUND = np.zeros(3_200, np.float32)


def numbered(k: int) -> np.ndarray:
    return np.full(3_200, k / 100, np.float32)


def number(audio: np.ndarray) -> int:
    return round(float(audio[0]) * 100)


# --- input queue -----------------------------------------------------------------------------
def test_without_a_clock_a_session_waits_for_its_audio() -> None:
    queue = InputQueue(LAYOUT, max_waiting=3)
    assert not queue.is_ready(1e9)
    queue.push_audio(SOUND, 5.0)
    assert queue.next_input(5.0)[1] == 5.0
    assert not queue.is_ready(1e9)
    assert queue.missing_at() is None
    assert queue.missing_input == 0


def test_the_oldest_is_dropped_and_counted() -> None:
    queue = InputQueue(LAYOUT, max_waiting=3)
    dropped = [queue.push_audio(numbered(k), 0.0) for k in range(8)]
    assert dropped == [0, 0, 0, 1, 1, 1, 1, 1]
    assert queue.dropped == 5
    kept = [queue.next_input(0.0)[0] for _ in range(3)]
    assert [number(micro_turn.audio) for micro_turn in kept] == [5, 6, 7]
    assert not any(micro_turn.missing_input for micro_turn in kept)


def test_audio_that_is_absent_when_due_is_missing_and_dropped_when_it_arrives() -> None:
    queue = InputQueue(LAYOUT, max_waiting=5, missing_after_s=0.1)
    queue.push_audio(numbered(0), 10.0)
    assert not queue.next_input(10.0)[0].missing_input
    assert queue.missing_at() == pytest.approx(10.3)
    assert not queue.is_ready(10.29)
    for k in (1, 2, 3, 4):  # nothing for 0.8 s: four micro-turns go on without
        micro_turn, _ = queue.next_input(10.0 + k * P + 0.1)
        assert micro_turn.missing_input
        assert not micro_turn.audio.any()
    assert queue.missing_input == 4
    # The network gives everything at once; there is room for what is due now and one more.
    for k in (1, 2, 3, 4, 5):
        queue.push_audio(numbered(k), 11.0)
    waiting = [number(audio) for audio, _ in list(queue._waiting)]
    assert waiting == [4, 5]
    assert queue.dropped == 3


def test_a_client_that_paused_is_heard_again_at_once() -> None:
    queue = InputQueue(LAYOUT, max_waiting=5, missing_after_s=0.05)
    queue.push_audio(numbered(0), 0.0)
    queue.next_input(0.0)
    now = 0.0
    while now < 3.0:
        now += 0.05
        while queue.is_ready(now):
            queue.next_input(now)
    for k in range(1, 10):
        now += P
        while queue.is_ready(now - 0.01):
            queue.next_input(now - 0.01)
        assert queue.push_audio(numbered(k), now) == 0
        micro_turn, _ = queue.next_input(now)
        assert not micro_turn.missing_input
        assert number(micro_turn.audio) == k


@given(
    st.lists(st.tuples(st.floats(0.0, 0.6), st.integers(0, 4)), max_size=60),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_delay_never_accumulates(
    arrivals: list[tuple[float, int]], max_waiting: int, missing_after_s: float
) -> None:
    """Whatever arrives when: what waits is bounded, nothing is lost without being counted, and
    with a wall clock the conversation is never a micro-turn ahead of it nor behind."""
    queue = InputQueue(LAYOUT, max_waiting=max_waiting, missing_after_s=missing_after_s)
    now, pushed, heard, started = 0.0, 0, 0, None
    for gap, n in arrivals:
        now += gap
        while queue.is_ready(now):
            heard += not queue.next_input(now)[0].missing_input
        for _ in range(n):
            started = now if started is None else started
            queue.push_audio(SOUND, now)
            pushed += 1
        assert len(queue) <= max_waiting
        assert pushed == heard + len(queue) + queue.dropped
        if missing_after_s and started is not None:
            elapsed = int((now - started) / P + 1e-9) + 1
            assert queue.n_begun + len(queue) <= elapsed + 1
            assert queue.n_begun >= elapsed - 1 - int(missing_after_s / P + 1) - max_waiting
    assert queue.n_begun == heard + queue.missing_input


# --- admission -------------------------------------------------------------------------------
def calibrated(ms: dict[int, float], share: float = 0.7) -> Admission:
    admission = Admission(micro_turn_ms=200, share=share)
    ticks = deque([0.0])

    def clock() -> float:
        return ticks[-1]

    def run(n: int) -> None:
        ticks.append(ticks[-1] + ms[n] / 1000)

    admission.calibrate(run, max(ms), micro_turns=5, clock=clock)
    assert admission.calibrated == pytest.approx(ms)
    assert admission.calibrated is not ms
    return admission


def test_a_session_that_fits_is_admitted_and_one_too_many_is_refused_with_the_number() -> None:
    admission = calibrated({1: 30.0, 2: 50.0, 4: 90.0, 6: 150.0})
    assert admission.refusal(1, 0.0) == ""
    assert admission.refusal(3, 0.0) == ""  # as four of them
    assert admission.refusal(5, 0.0) == (
        "5 sessions at once would need 150 ms (p99) of every 200 ms, and 140 ms is the "
        "limit; try again later"
    )


def test_a_machine_that_has_become_slower_takes_fewer_until_it_recovers() -> None:
    admission = calibrated({1: 30.0, 2: 50.0, 4: 90.0})
    for k in range(100):
        admission.record(2, 100.0, now=k * P)  # twice what it was
    assert "180 ms (p99)" in admission.refusal(3, now=20.0)
    assert admission.refusal(3, now=100.0) == ""  # these times are old by then
    for k in range(50):
        admission.record(2, 25.0, now=100.0 + k * P)  # a quick spell promises nothing
    assert admission.expected_ms(3, now=110.0) == pytest.approx(90.0)
    for k in range(50, 120):
        admission.record(2, 25.0, now=100.0 + k * P)  # enough for a percentile of their own
    assert admission.expected_ms(3, now=124.0) == pytest.approx(45.0)


def test_an_unlucky_measurement_is_made_again_but_not_all_the_time() -> None:
    ms = {1: 400.0}
    admission = calibrated(ms)
    assert admission.refusal(1, 0.0)
    ms[1] = 20.0
    assert admission.calibrate_again(0.0)
    assert not admission.calibrate_again(30.0)
    assert admission.calibrate_again(60.0)
    assert admission.refusal(1, 60.0) == ""
    assert not Admission(micro_turn_ms=200, share=0.7).calibrate_again(0.0)  # there was none


def test_without_calibration_live_times_alone_decide() -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    assert admission.expected_ms(1, 0.0) is None
    assert admission.refusal(1, 0.0) == ""
    admission.record(2, 80.0, now=0.0)
    assert admission.expected_ms(3, 0.0) == pytest.approx(120.0)
    assert "4 sessions at once would need 160 ms" in admission.refusal(4, 0.0)


def test_p99_is_counted_upwards() -> None:
    assert p99([1.0, 2.0, 3.0]) == 3.0
    assert p99([*([1.0] * 300), 50.0]) == 1.0


# --- metrics ---------------------------------------------------------------------------------
@given(st.lists(st.floats(0.0, 5_000.0), max_size=50))
def test_a_histogram_counts_every_time_once(times: list[float]) -> None:
    histogram = Histogram(200)
    for ms in times:
        histogram.observe(ms)
    rows = histogram.cumulative()
    assert rows[-1] == (float("inf"), len(times))
    for bound, n in rows:
        assert n == sum(ms <= bound for ms in times)


def test_prometheus_text_has_one_head_and_whole_histograms() -> None:
    metrics = Metrics(200)
    metrics.count("dropped", 3)
    metrics.ticks.observe(12.0)
    metrics.ticks.observe(1_000.0)
    text = metrics.to_prometheus({"sessions": 2})
    lines = text.splitlines()
    assert "microturn_dropped_total 3" in lines
    assert "microturn_sessions 2" in lines
    assert 'microturn_tick_seconds_bucket{le="0.02"} 1' in lines
    assert 'microturn_tick_seconds_bucket{le="+Inf"} 2' in lines
    assert "microturn_tick_seconds_sum 1.012000" in lines
    assert "microturn_tick_seconds_count 2" in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert text.endswith("\n")
