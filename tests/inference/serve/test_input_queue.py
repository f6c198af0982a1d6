"""The input queue of a session and the admission of another one, on clocks of the test."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.serve.admission import Admission
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
    assert queue.next_input(5.0).arrived == 5.0
    assert not queue.is_ready(1e9)
    assert queue.missing_at() is None
    assert queue.missing_input == 0


@pytest.mark.parametrize(
    ("keep", "dropped"), [(1, [0, 0, 0, 3, 3, 3, 6, 6]), (3, [0, 0, 0, 1, 2, 3, 4, 5])]
)
def test_an_overflow_drops_all_but_the_newest_and_keeps_their_places(
    keep: int, dropped: list[int]
) -> None:
    queue = InputQueue(LAYOUT, max_waiting=3, keep_waiting=keep, max_passed=4)
    counted = []
    for k in range(8):
        queue.push_audio(numbered(k), 0.0)
        counted.append(queue.dropped)
    assert counted == dropped
    n = dropped[-1]
    kept = [queue.next_input(0.0) for _ in range(8 - n)]
    assert [number(begun.input.audio) for begun in kept] == list(range(n, 8))
    assert [begun.index for begun in kept] == list(range(n, 8))
    assert [begun.n_passed for begun in kept] == [n, *[0] * (7 - n)]
    # The sound of the newest that were dropped.
    assert [number(passed.audio) for passed in kept[0].passed] == list(range(n - 4, n))
    assert not any(begun.input.missing_input for begun in kept)
    assert len(queue) == 0


def test_what_waits_for_long_is_overload_and_a_burst_is_not() -> None:
    def queue_of() -> InputQueue:
        return InputQueue(LAYOUT, max_waiting=5, max_behind_s=1.0, max_passed=8)

    slow, now = queue_of(), 0.0
    waited = []
    for k in range(100):  # a tick takes 1.25 micro-turns
        slow.push_audio(numbered(k), k * P)
        while now <= k * P:
            if slow.is_ready(now):
                waited.append(now - slow.next_input(now).arrived)
                now += 1.25 * P
            else:
                now = k * P + 1e-6
    assert 10 <= slow.dropped <= 25
    assert max(waited) < 3.5 * P
    asks, now = queue_of(), 0.0  # sends when it is answered, which takes longer than a micro-turn
    asks.push_audio(numbered(0), now)
    for k in range(1, 50):
        asks.push_audio(numbered(k), now)
        asks.next_input(now)
        now += 1.25 * P
    assert asks.dropped == 0
    bursts = queue_of()
    for k in range(0, 100, 5):  # a second at once, worked off in half a second
        for j in range(k, k + 5):
            bursts.push_audio(numbered(j), (k + 5) * P)
        for _ in range(5):
            bursts.next_input((k + 7.5) * P)
    assert bursts.dropped == 0
    halted = queue_of()
    for k in range(5):
        halted.push_audio(numbered(k), k * P)
    for _ in range(5):
        halted.next_input(5 * P)
    for k in range(5, 20):
        halted.push_audio(numbered(k), k * P)
        halted.next_input(k * P)
    assert halted.dropped == 0


def test_overload_costs_answers_and_no_delay_until_it_is_over() -> None:
    """A tick takes 1.25 micro-turns for 20 s, then a fifth of one, with a halt of four later."""
    queue, now, arriving = InputQueue(LAYOUT, max_waiting=5, max_behind_s=1.0, max_passed=8), 0.0, 0
    waited: list[float] = []
    lost: list[float] = []  # when
    while now < 200 * P:
        if 160 * P <= now < 160.5 * P:
            now += 4 * P
        while arriving * P <= now:
            queue.push_audio(numbered(arriving % 100), arriving * P)
            arriving += 1
        if not queue.is_ready(now):
            now = arriving * P
            continue
        begun = queue.next_input(now)
        lost += [now] * begun.n_passed
        waited.append(now - begun.arrived)
        now += (1.25 if now < 100 * P else 0.2) * P
        if lost and now < 100 * P:
            assert waited[-1] < P
    assert lost[0] < 20 * P
    assert 18 <= len(lost) <= 22  # a fifth
    assert max(lost) < 101 * P
    assert max(waited[-50:]) > 3 * P  # of the halt, which costs nothing any more


def test_audio_that_is_absent_when_due_is_missing_and_dropped_when_it_arrives() -> None:
    queue = InputQueue(LAYOUT, max_waiting=5, missing_after_s=0.1)
    queue.push_audio(numbered(0), 10.0)
    assert not queue.next_input(10.0).input.missing_input
    assert queue.missing_at() == pytest.approx(10.3)
    assert not queue.is_ready(10.29)
    for k in (1, 2, 3, 4):  # nothing for 0.8 s: four micro-turns go on without
        begun = queue.next_input(10.0 + k * P + 0.1)
        assert begun.index == k
        assert begun.input.missing_input
        assert not begun.input.audio.any()
    assert queue.missing_input == 4
    # The network gives everything at once; there is room for what is due now and one more.
    for k in (1, 2, 3, 4, 5):
        queue.push_audio(numbered(k), 11.0)
    waiting = [number(audio) for audio, _ in list(queue._waiting)]
    assert waiting == [4, 5]
    assert (queue.too_late_input, queue.dropped) == (3, 0)


def test_a_machine_that_stood_still_goes_on_at_the_wall_clock() -> None:
    """Nothing ran and nothing came for two seconds: those micro-turns are dropped, not made up."""
    queue = InputQueue(LAYOUT, max_waiting=5, missing_after_s=0.05, max_passed=64)
    queue.push_audio(numbered(0), 0.0)
    queue.next_input(0.0)
    queue.push_audio(numbered(1), 0.2)
    queue.push_audio(numbered(11), 2.2)
    assert queue.dropped == 10
    begun = queue.next_input(2.2)
    assert (begun.index, begun.n_passed, number(begun.input.audio)) == (11, 10, 11)
    assert [number(passed.audio) for passed in begun.passed] == [1, *[0] * 9]
    assert [passed.missing_input for passed in begun.passed] == [False, *[True] * 9]
    assert not queue.is_ready(2.44)
    assert queue.is_ready(4.46)  # and without anything that comes
    begun = queue.next_input(4.46)
    assert (begun.index, begun.n_passed) == (22, 10)
    assert begun.input.missing_input


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
        queue.push_audio(numbered(k), now)
        begun = queue.next_input(now)
        assert not begun.input.missing_input
        assert number(begun.input.audio) == k
    assert queue.dropped == queue.too_late_input == 0


@given(
    st.lists(st.tuples(st.floats(0.0, 0.6), st.integers(0, 4)), max_size=60),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.booleans(),
)
def test_delay_never_accumulates(
    arrivals: list[tuple[float, int]], max_waiting: int, missing_after_s: float, is_slow: bool
) -> None:
    """Whatever arrives when, and however slow the model: what waits is bounded, every micro-turn
    has its place, and with a wall clock the conversation is never ahead of it by more than one
    nor behind by more than may wait."""
    queue = InputQueue(
        LAYOUT, max_waiting=max_waiting, missing_after_s=missing_after_s, max_passed=4
    )
    now, pushed, heard, passed, index, started = 0.0, 0, 0, 0, 0, None
    for gap, n in arrivals:
        now += gap
        while queue.is_ready(now):
            begun = queue.next_input(now)
            heard += not begun.input.missing_input
            passed += begun.n_passed
            assert begun.index == index + begun.n_passed
            assert len(begun.passed) == min(begun.n_passed, 4)
            index = begun.index + 1
            if is_slow:
                break
        for _ in range(n):
            started = now if started is None else started
            queue.push_audio(SOUND, now)
            pushed += 1
        assert len(queue) <= max_waiting
        if not missing_after_s:
            assert pushed == heard + len(queue) + queue.dropped == queue.index + len(queue)
        elif started is not None:
            elapsed = int((now - started) / P + 1e-9) + 1
            assert queue.index + len(queue) <= elapsed + 1
            if n:
                assert queue.index >= elapsed - 1 - int(missing_after_s / P + 1) - max_waiting
    assert queue.index == heard + queue.missing_input + queue.dropped
    assert queue.dropped >= passed


# --- admission -------------------------------------------------------------------------------
def calibrated(ms: dict[int, float], share: float = 0.7) -> Admission:
    admission = Admission(micro_turn_ms=200, share=share)
    ticks = deque([0.0])

    def clock() -> float:
        return ticks[-1]

    def run(n: int) -> None:
        ticks.append(ticks[-1] + ms[n] / 1000)

    admission.calibrate(run, max(ms), micro_turns=5, clock=clock, sleep=lambda _: None)
    assert admission.calibrated == pytest.approx(ms)
    assert admission.calibrated is not ms
    return admission


def test_a_session_that_fits_is_admitted_and_one_too_many_is_refused_with_the_number() -> None:
    admission = calibrated({1: 30.0, 2: 50.0, 4: 90.0, 6: 150.0})
    assert admission.excess(1, 0.0) == ""
    assert admission.excess(3, 0.0) == ""  # as four of them
    assert admission.excess(5, 0.0) == (
        "5 sessions at once would need 150 ms (p90) of every 200 ms, and 140 ms is the limit"
    )
    assert admission.expected_ms(9, 0.0) == pytest.approx(225.0)


def test_a_machine_that_has_become_slower_takes_fewer_until_it_recovers() -> None:
    admission = calibrated({1: 30.0, 2: 50.0, 4: 90.0})
    for k in range(9):
        admission.record(2, 100.0, now=k * P)  # twice what it was
    assert admission.excess(3, now=5.0) == ""  # a slow spell of two seconds
    for k in range(9, 20):
        admission.record(2, 100.0, now=k * P)
    assert "180 ms (p90)" in admission.excess(3, now=20.0)
    assert admission.excess(3, now=100.0) == ""  # these times are old by then


def test_a_hundred_live_times_correct_a_measurement_on_a_busy_machine_for_good() -> None:
    admission = calibrated({1: 80.0, 2: 90.0, 4: 180.0})
    assert admission.excess(3, now=0.0)
    for k in range(99):
        admission.record(2, 45.0, now=k * P)  # a quick spell promises nothing
    assert admission.expected_ms(3, now=20.0) == pytest.approx(180.0)
    admission.record(2, 45.0, now=20.0)
    assert admission.expected_ms(3, now=20.0) == pytest.approx(90.0)
    assert admission.expected_ms(3, now=1_000.0) == pytest.approx(90.0)


def test_outliers_of_the_measurement_do_not_count() -> None:
    """Two ticks in twenty that were interrupted, and a number of sessions in a bad moment."""
    admission = Admission(micro_turn_ms=200, share=0.7)
    calls = {1: 0, 2: 0, 4: 0}
    now = [0.0]

    def run(n: int) -> None:
        calls[n] += 1
        is_interrupted = calls[n] in (5, 12)
        bad = 300.0 if n == 2 and calls[n] > 10 else 0.0
        now[0] += (20 + 10 * n + (400 if is_interrupted else 0) + bad) / 1000

    admission.calibrate(run, 4, micro_turns=20, clock=lambda: now[0], sleep=lambda _: None)
    assert admission.calibrated[1] == pytest.approx(30.0)
    assert admission.calibrated[2] > 300
    assert admission.expected_ms(2, 0.0) == admission.calibrated[4] == pytest.approx(60.0)


def test_the_numbers_of_sessions_take_turns_and_each_tick_has_a_pause() -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    done: list[float] = []
    admission.calibrate(done.append, 3, micro_turns=2, sleep=done.append)
    assert done == [1, 2, 3, *[0.05, 1, 0.05, 2, 0.05, 3] * 2]


def test_without_calibration_live_times_alone_decide() -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    assert admission.expected_ms(1, 0.0) is None
    assert admission.excess(1, 0.0) == ""
    for _ in range(10):
        admission.record(2, 80.0, now=0.0)
    assert admission.expected_ms(3, 0.0) == pytest.approx(120.0)
    assert "4 sessions at once would need 160 ms" in admission.excess(4, 0.0)


def test_an_operator_may_say_what_a_session_costs() -> None:
    admission = Admission(micro_turn_ms=200, share=0.7, cost_ms=[40, 50])
    for _ in range(200):
        admission.record(1, 500.0, now=0.0)  # measurements are not asked
    assert [admission.expected_ms(n, 0.0) for n in (1, 2, 3)] == [40, 90, 140]
    assert admission.excess(2, 0.0) == ""
    assert "3 sessions at once would need 140 ms (by admit_cost_ms)" in admission.excess(3, 0.0)


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
