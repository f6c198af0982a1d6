"""The live engine on a clock of the test: missing input, admission, counters, an hour."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from microturn.evaluation.bench.session import resident_bytes
from microturn.inference.audio import encode_pcm16
from microturn.inference.config import NotesConfig, ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve import protocol
from microturn.inference.serve.admission import Admission, measured_admission
from microturn.inference.serve.engine import EngineFull, LiveEngine
from microturn.inference.serve.server import create_app
from microturn.inference.sessions import Sessions
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.streams import LayoutError
from support.ears import Ear, opened
from support.sleeping_server import VERY_SMALL, very_small_checkpoint

SEEING = replace(TINY_LAYOUT, video_rows=1, video_cols=1)
P = TINY_LAYOUT.micro_turn_s
SAMPLES = TINY_LAYOUT.samples_per_micro_turn
HOUR = 18_000
HELLO = {"type": "hello", "protocol": protocol.PROTOCOL_VERSION}


class Clock:
    """Seconds that pass when the test says so; a micro-turn of the model takes `model_s`."""

    def __init__(self) -> None:
        self.now, self.model_s = 100.0, 0.0

    def __call__(self) -> float:
        return self.now


class Timed(RowBatch):
    """A model that takes time on the test's clock."""

    def __init__(self, checkpoint: LoadedCheckpoint, rows: int, clock: Clock) -> None:
        super().__init__(checkpoint, rows)
        self.clock = clock

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        self.clock.now += self.clock.model_s
        return super().step_rows(inputs)


@pytest.fixture(scope="module")
def very_small() -> LoadedCheckpoint:
    return very_small_checkpoint()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def engine_of(
    checkpoint: LoadedCheckpoint,
    clock: Clock,
    rows: int = 4,
    *,
    admission: Admission | None = None,
    **settings: Any,
) -> LiveEngine:
    batch = Timed(checkpoint, rows, clock)
    return LiveEngine(batch, ServeConfig(**settings), admission=admission, clock=clock)


def noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(SAMPLES)).astype(np.float32)


def test_all_ready_sessions_share_one_tick(very_small: LoadedCheckpoint, clock: Clock) -> None:
    engine = engine_of(very_small, clock)
    pairs = [opened(engine) for _ in range(3)]
    for session, _ in pairs[:2]:
        session.push_audio(noise(0))
    assert engine.step() == 2
    assert engine.step() == 0
    assert [len(ear.reports) for _, ear in pairs] == [1, 1, 0]
    assert engine.metrics()["tick"]["count"] == 1


def test_missing_input_of_another_changes_no_bit(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    """One sends in time; the other one's sound comes late, in bursts, or never."""
    torch.set_num_threads(1)
    engine = engine_of(very_small, clock, missing_input_after_ms=60.0)
    (steady, ear), (shaky, other) = opened(engine), opened(engine)
    rng = np.random.default_rng(3)
    owed: list[np.ndarray] = []
    for k in range(40):
        steady.push_audio(noise(k))
        owed.append(noise(1_000 + k))
        if k == 0 or rng.random() < 0.4:
            for audio in owed:
                shaky.push_audio(audio)
            owed = []
        engine.step()
        clock.now += 0.1
        engine.step()  # what has not arrived by now is missing
        clock.now += P - 0.1
    sessions = Sessions(RowBatch(very_small, 1))
    alone = sessions.open()
    for k, report in enumerate(ear.reports):
        expected = sessions.step_session(alone, MicroTurnIn(audio=noise(k)))
        assert np.array_equal(report.output.audio, expected.audio)
    assert len(ear.reports) == 40
    assert [report.micro_turn for report in other.reports] == list(range(len(other.reports)))
    assert abs(len(other.reports) - 40) <= 1  # it keeps the time of the wall clock
    assert sum(report.is_missing for report in other.reports) == other.reports[-1].missing_input > 5
    assert other.reports[-1].too_late_input > 0
    assert other.reports[-1].dropped == 0
    assert ear.reports[-1].missing_input == ear.reports[-1].too_late_input == 0
    metrics = engine.metrics()
    assert metrics["missing_input"] == other.reports[-1].missing_input
    assert metrics["too_late_input"] == other.reports[-1].too_late_input
    assert metrics["by_session"]["s2"]["missing_input"] == metrics["missing_input"]


def test_a_model_that_falls_behind_keeps_the_clock_and_recovers(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    """Too slow for three seconds: some micro-turns get no answer, the others keep their places."""
    engine = engine_of(very_small, clock, max_waiting_micro_turns=3)
    session, ear = opened(engine)
    due = clock.now
    for k in range(60):
        due += P
        clock.model_s = 3 * P if 20 <= k < 26 else 0.01
        while clock.now < due and engine.step():
            pass
        clock.now = max(clock.now, due)
        session.push_audio(noise(k))
    while engine.step():
        pass
    last = ear.reports[-1]
    assert last.dropped > 0
    assert last.waiting == 0
    answered = [report.micro_turn for report in ear.reports]
    assert answered[-1] == 59
    assert len(answered) == 60 - last.dropped
    lost = [
        k for r in ear.reports for k in range(r.micro_turn - r.n_passed, r.micro_turn)
    ]  # what the client is told
    assert sorted(answered + lost) == list(range(60))
    assert engine._clients[0].conversation.micro_turn == 60
    assert max(report.lag_ms for report in ear.reports) < 1_000 * (3 + 3) * P
    assert all(report.lag_ms < 200 for report in ear.reports[-20:])  # no delay is left
    state = engine.metrics()["by_session"]["s1"]
    assert state["deadline_missed"] == engine.health()["deadline_missed"] > 0
    assert last.deadline_missed == state["deadline_missed"]
    assert state["lead_ms"] == pytest.approx(200 - state["lag_ms"])


def test_one_too_many_is_refused_with_the_measured_number(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    clock.model_s = 0.06
    engine = engine_of(very_small, clock, admission=admission)
    session, _ = opened(engine)
    for k in range(10):
        session.push_audio(noise(k))
        engine.step()
        clock.now += P
    opened(engine)  # 120 ms expected
    with pytest.raises(EngineFull, match=r"3 sessions at once would need 180 ms \(p90\)"):
        engine.join(lambda _: None)
    assert engine.metrics()["sessions_refused"] == 1
    clock.now += 100.0  # nothing was slow for a minute
    opened(engine)


def test_the_measurement_before_the_first_session_decides(
    very_small: LoadedCheckpoint,
) -> None:
    batch = RowBatch(very_small, 3)
    admission = measured_admission(batch, ServeConfig(calibrate=3, admit_share=1e-6))
    assert admission is not None
    assert set(admission.calibrated) == {1, 2, 3}
    assert all(ms > 0 for ms in admission.calibrated.values())
    assert "one session would need" in admission.excess(1, 0.0)
    fresh = RowBatch(very_small, 3)
    inputs = {k: MicroTurnIn(audio=noise(k)) for k in range(3)}
    outputs, expected = batch.step_rows(inputs), fresh.step_rows(inputs)
    for row in range(3):  # measuring left no trace
        assert np.array_equal(outputs[row].audio, expected[row].audio)
    assert measured_admission(batch, ServeConfig(admit_share=0.0)) is None
    told = measured_admission(batch, ServeConfig(admit_cost_ms=[10.0, 2.0]))
    assert told is not None
    assert (told.calibrated, told.expected_ms(3, 0.0)) == ({}, 14.0)


def test_the_first_conversation_is_always_let_in_and_warned(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    admission = Admission(micro_turn_ms=200, share=0.7, cost_ms=[250.0, 250.0])
    engine = engine_of(very_small, clock, admission=admission)
    first, _ = opened(engine)
    assert first.warning == (
        "answers may come late: one session would need 250 ms (by admit_cost_ms) of every 200 ms, "
        "and 140 ms is the limit"
    )
    with pytest.raises(EngineFull, match="2 sessions at once would need 500 ms"):
        engine.join(lambda _: None)
    first.leave()  # its place is free before the engine's thread has cleared it
    assert opened(engine)[0].warning
    assert engine.metrics()["sessions_refused"] == 1
    two = engine_of(very_small, clock, admission=admission, admit_always=2)
    assert all(opened(two)[0].warning for _ in range(2))
    none = engine_of(very_small, clock, admission=admission, admit_always=0)
    with pytest.raises(EngineFull, match="one session would need 250 ms"):
        none.join(lambda _: None)


def test_the_server_refuses_with_the_number_and_shows_its_counters(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    for _ in range(10):
        admission.record(1, 150.0, now=clock.now)
    engine = engine_of(very_small, clock, admission=admission, admit_always=0)
    with TestClient(create_app(engine, ServeConfig()), base_url="http://127.0.0.1:8765") as client:
        with client.websocket_connect("/ws") as socket:
            assert "would need 150 ms (p90) of every 200 ms" in socket.receive_json()["message"]
            assert socket.receive_json()["type"] == "closed"
        clock.now += 100.0
        with client.websocket_connect("/ws") as socket:
            assert socket.receive_json()["type"] == "hello"
            socket.send_json(HELLO)
            socket.send_bytes(encode_pcm16(noise(0)))
            message = socket.receive_json()
            assert (message["type"], message["missing_input"]) == ("micro_turn", 0)
        text = client.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "microturn_sessions_refused_total 1" in text.text
        values = client.get("/metrics.json").json()
        assert values["micro_turns"] == 1
        assert values["admission_limit_seconds"] == pytest.approx(0.14)


def test_counters_require_the_token_if_there_is_one(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    config = ServeConfig(token="open sesame", host="0.0.0.0")
    with TestClient(create_app(engine_of(very_small, clock), config)) as client:
        for path in ("/metrics", "/metrics.json"):
            assert client.get(path).status_code == 401
            bearer = {"Authorization": "Bearer open sesame"}
            assert client.get(path, headers=bearer).status_code == 200


def test_missing_input_is_reported_on_the_socket(very_small: LoadedCheckpoint) -> None:
    """On the real clock and the engine's own thread: sound stops and the conversation goes on."""
    engine = LiveEngine(RowBatch(very_small, 1), ServeConfig(missing_input_after_ms=20.0))
    with (
        TestClient(create_app(engine, ServeConfig()), base_url="http://127.0.0.1:8765") as client,
        client.websocket_connect("/ws") as socket,
    ):
        assert socket.receive_json()["type"] == "hello"
        socket.send_json(HELLO)
        socket.send_bytes(encode_pcm16(noise(0)))
        missing = None
        while missing is None:
            values = json.loads(socket.receive().get("text") or "{}")
            if values.get("type") == "missing_input":
                missing = values
        assert missing == {
            "type": "missing_input",
            "ranges": [[1, 2]],
            "missing": 1,
            "missing_s": 0.2,
        }


# --- an hour ---------------------------------------------------------------------------------
def hold(engine: LiveEngine, clock: Clock, n: int, note: Callable[[int], None]) -> Ear:
    session, ear = opened(engine)
    sounds = [noise(k) for k in range(7)]
    for k in range(n):
        session.push_audio(sounds[k % len(sounds)])
        assert engine.step() == 1
        clock.now += P
        note(k)
        if len(ear.reports) > 50:
            del ear.reports[:-1]
    return ear


def an_hour(checkpoint: LoadedCheckpoint, clock: Clock, n: int) -> None:
    """Positions, counters and memory after n micro-turns of one conversation among others."""
    notes = NotesConfig(enabled=True)
    engine = engine_of(
        checkpoint, clock, rows=2, admission=Admission(micro_turn_ms=200, share=0.7), notes=notes
    )
    resident: dict[int, int] = {}

    def note(k: int) -> None:
        if k in (n // 5, n - 1):
            resident[k] = resident_bytes()

    ear = hold(engine, clock, n, note)
    assert ear.reports[-1].micro_turn == n - 1
    assert (
        ear.reports[-1].missing_input,
        ear.reports[-1].dropped,
        ear.reports[-1].waiting,
    ) == (0, 0, 0)
    metrics = engine.metrics()
    assert metrics["micro_turns"] == metrics["tick"]["count"] == n
    assert metrics["deadline_missed"] == 0
    assert resident[n - 1] < 1.02 * resident[n // 5]


def test_three_minutes_on_a_fake_clock(very_small: LoadedCheckpoint, clock: Clock) -> None:
    an_hour(very_small, clock, HOUR // 20)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_an_hour_on_a_fake_clock(very_small: LoadedCheckpoint, clock: Clock) -> None:
    an_hour(very_small, clock, HOUR)


def test_a_frame_is_seen_until_the_next_one(clock: Clock) -> None:
    """Each client has its own; a client that has shown none sees black."""
    checkpoint = random_checkpoint(5, layout=SEEING, config=VERY_SMALL)
    engine = engine_of(checkpoint, clock)
    (one, _), (two, _) = opened(engine), opened(engine)
    white, grey = np.full((40, 40, 3), 255, np.uint8), np.full((40, 40, 3), 99, np.uint8)
    seen = []
    for frame in (None, white, None, grey):
        if frame is not None:
            one.show("video", frame)
        for session in (one, two):
            session.push_audio(noise(1))
        engine.step()
        seen.append(engine._batch.tick.inputs["video"][:2, 0, 0, 0].tolist())
    assert seen == [[0, 0], [255, 0], [255, 0], [99, 0]]
    with pytest.raises(LayoutError, match="video is uint8"):
        one.show("video", white[:8])
    with pytest.raises(LayoutError, match="lane audio_in is computed"):
        one.show("audio_in", white)
