"""The live engine on a clock that the test turns: lateness, admission, counters, an hour."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from microturn.evaluation.bench.session import resident_bytes
from microturn.inference.audio import encode_pcm16
from microturn.inference.config import AgentConfig, NotesConfig, ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.admission import Admission, measured_admission
from microturn.inference.serve.engine import EngineFull, LiveEngine, LiveSession, Problem, Turn
from microturn.inference.serve.server import create_app
from microturn.inference.sessions import Sessions
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.vocoders.config import VocoderConfig

P = TINY_LAYOUT.micro_turn_s
SAMPLES = TINY_LAYOUT.samples_per_micro_turn
HOUR = 18_000
VERY_SMALL = ModelConfig(
    d_model=16,
    n_layers=1,
    n_heads=1,
    d_ff=16,
    window=8,
    moe=MoEConfig(n_experts=0),
    flow=FlowConfig(width=16, depth=1, steps=1),
    vocoder=VocoderConfig(kind="istft", width=8, layers=1),
)


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
    return random_checkpoint(5, config=VERY_SMALL)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def engine_of(checkpoint: LoadedCheckpoint, clock: Clock, rows: int = 4, **more: Any) -> LiveEngine:
    return LiveEngine(
        Timed(checkpoint, rows, clock),
        n_slots=rows,
        layout=checkpoint.layout,
        tokenizer=checkpoint.tokenizer,
        agent=None,
        agent_config=AgentConfig(),
        max_waiting=more.pop("max_waiting", 5),
        clock=clock,
        **more,
    )


def noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(SAMPLES)).astype(np.float32)


class Ear:
    """Keeps what an engine delivers."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.problems: list[Problem] = []

    def __call__(self, message: Turn | Problem) -> None:
        if isinstance(message, Turn):
            self.turns.append(message)
        else:
            self.problems.append(message)


def opened(engine: LiveEngine) -> tuple[LiveSession, Ear]:
    ear = Ear()
    return engine.open(ear), ear


def test_all_that_is_ready_goes_into_one_micro_turn(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    engine = engine_of(very_small, clock)
    pairs = [opened(engine) for _ in range(3)]
    for session, _ in pairs[:2]:
        session.push(noise(0))
    assert engine.turn() == 2
    assert engine.turn() == 0
    assert [len(ear.turns) for _, ear in pairs] == [1, 1, 0]
    assert engine.metrics()["tick"]["count"] == 1


def test_a_late_neighbour_costs_nobody_a_bit(very_small: LoadedCheckpoint, clock: Clock) -> None:
    """One sends in time; the other one's sound comes late, in bursts, or never."""
    torch.set_num_threads(1)
    engine = engine_of(very_small, clock, late_after_ms=60.0)
    (steady, ear), (shaky, other) = opened(engine), opened(engine)
    rng = np.random.default_rng(3)
    owed: list[np.ndarray] = []
    for k in range(40):
        steady.push(noise(k))
        owed.append(noise(1_000 + k))
        if k == 0 or rng.random() < 0.4:
            for audio in owed:
                shaky.push(audio)
            owed = []
        engine.turn()
        clock.now += 0.1
        engine.turn()  # what is missing by now is late
        clock.now += P - 0.1
    sessions = Sessions(RowBatch(very_small, 1))
    alone = sessions.open()
    for k, turn in enumerate(ear.turns):
        expected = sessions.step_session(alone, MicroTurnIn(audio=noise(k)))
        assert np.array_equal(turn.audio, expected.audio)
    assert len(ear.turns) == 40
    assert [turn.micro_turn for turn in other.turns] == list(range(len(other.turns)))
    assert abs(len(other.turns) - 40) <= 1  # it keeps the time of the wall clock
    assert other.turns[-1].late > 5
    assert other.turns[-1].dropped > 0
    assert ear.turns[-1].late == ear.turns[-1].dropped == 0
    metrics = engine.metrics()
    assert metrics["late"] == other.turns[-1].late
    assert metrics["dropped"] == other.turns[-1].dropped
    assert metrics["conversations"]["s2"]["late"] == metrics["late"]


def test_a_model_that_falls_behind_sheds_and_recovers(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    """Too slow for three seconds: the oldest input goes, and afterwards the answers are in time."""
    engine = engine_of(very_small, clock, max_waiting=3)
    session, ear = opened(engine)
    due = clock.now
    for k in range(60):
        due += P
        clock.model_s = 3 * P if 20 <= k < 26 else 0.01
        while clock.now < due and engine.turn():
            pass
        clock.now = max(clock.now, due)
        session.push(noise(k))
    while engine.turn():
        pass
    last = ear.turns[-1]
    assert last.dropped > 0
    assert last.waiting == 0
    assert len(ear.turns) == 60 - last.dropped
    assert max(turn.lag_ms for turn in ear.turns) < 1_000 * (3 + 3) * P
    assert all(turn.lag_ms < 200 for turn in ear.turns[-20:])  # late once, not later and later
    state = engine.metrics()["conversations"]["s1"]
    assert state["missed"] == engine.health()["late_micro_turns"] > 0
    assert state["lead_ms"] == pytest.approx(200 - state["lag_ms"])


def test_one_too_many_is_refused_with_the_measured_number(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    clock.model_s = 0.06
    engine = engine_of(very_small, clock, admission=admission)
    session, _ = opened(engine)
    for k in range(5):
        session.push(noise(k))
        engine.turn()
        clock.now += P
    opened(engine)  # 120 ms expected
    with pytest.raises(EngineFull, match=r"3 conversations at once would need 180 ms \(p99\)"):
        engine.open(lambda _: None)
    assert engine.metrics()["sessions_refused"] == 1
    clock.now += 100.0  # nothing was slow for a minute
    opened(engine)


def test_the_measurement_before_the_first_conversation_decides(
    very_small: LoadedCheckpoint,
) -> None:
    batch = RowBatch(very_small, 3)
    admission = measured_admission(batch, ServeConfig(calibrate=3, admit_share=1e-6))
    assert admission is not None
    assert set(admission.calibrated) == {1, 2, 3}
    assert all(ms > 0 for ms in admission.calibrated.values())
    assert "one conversation would need" in admission.refusal(1, 0.0)
    fresh = RowBatch(very_small, 3)
    inputs = {k: MicroTurnIn(audio=noise(k)) for k in range(3)}
    outputs, expected = batch.step_rows(inputs), fresh.step_rows(inputs)
    for row in range(3):  # measuring left no trace
        assert np.array_equal(outputs[row].audio, expected[row].audio)
    assert measured_admission(batch, ServeConfig(admit_share=0.0)) is None


def test_an_empty_server_that_refuses_measures_again(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    """A machine that was busy when the server started lets people in when it is not."""
    admission = Admission(micro_turn_ms=200, share=0.7)
    ms = 500.0

    def run(n: int) -> None:
        clock.now += ms / 1000

    admission.calibrate(run, 2, micro_turns=3, clock=clock)
    engine = engine_of(very_small, clock, admission=admission)
    with pytest.raises(EngineFull, match="one conversation would need 500 ms"):
        engine.open(lambda _: None)
    ms = 10.0
    engine.turn()  # what the thread does when it is woken
    opened(engine)
    assert engine.metrics()["sessions_refused"] == 1


def test_the_server_refuses_with_the_number_and_shows_its_counters(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    admission = Admission(micro_turn_ms=200, share=0.7)
    admission.note(1, 150.0, now=clock.now)
    engine = engine_of(very_small, clock, admission=admission)
    with TestClient(create_app(engine, ServeConfig()), base_url="http://127.0.0.1:8765") as client:
        with client.websocket_connect("/ws") as socket:
            assert "would need 150 ms (p99) of every 200 ms" in socket.receive_json()["message"]
            assert socket.receive_json()["type"] == "closed"
        clock.now += 100.0
        with client.websocket_connect("/ws") as socket:
            assert socket.receive_json()["type"] == "hello"
            socket.send_bytes(encode_pcm16(noise(0)))
            turn = socket.receive_json()
            assert (turn["type"], turn["late_input"]) == ("turn", 0)
        text = client.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "microturn_sessions_refused_total 1" in text.text
        values = client.get("/metrics.json").json()
        assert values["micro_turns"] == 1
        assert values["admission_limit_seconds"] == pytest.approx(0.14)


def test_counters_ask_for_the_token_where_there_is_one(
    very_small: LoadedCheckpoint, clock: Clock
) -> None:
    config = ServeConfig(token="open sesame", host="0.0.0.0")
    with TestClient(create_app(engine_of(very_small, clock), config)) as client:
        for path in ("/metrics", "/metrics.json"):
            assert client.get(path).status_code == 403
            bearer = {"Authorization": "Bearer open sesame"}
            assert client.get(path, headers=bearer).status_code == 200


def test_a_missing_micro_turn_is_reported_on_the_socket(very_small: LoadedCheckpoint) -> None:
    """On the real clock and the engine's own thread: sound stops and the conversation goes on."""
    engine = LiveEngine(
        RowBatch(very_small, 1),
        n_slots=1,
        layout=very_small.layout,
        tokenizer=very_small.tokenizer,
        agent=None,
        agent_config=AgentConfig(),
        max_waiting=5,
        late_after_ms=20.0,
    )
    with (
        TestClient(create_app(engine, ServeConfig()), base_url="http://127.0.0.1:8765") as client,
        client.websocket_connect("/ws") as socket,
    ):
        assert socket.receive_json()["type"] == "hello"
        socket.send_bytes(encode_pcm16(noise(0)))
        missing = None
        while missing is None:
            message = socket.receive()
            if "missing" in (message.get("text") or ""):
                missing = message["text"]
        assert '"late":1' in missing.replace(" ", "")


# --- an hour ---------------------------------------------------------------------------------
def hold(engine: LiveEngine, clock: Clock, n: int, note: Callable[[int], None]) -> Ear:
    session, ear = opened(engine)
    sounds = [noise(k) for k in range(7)]
    for k in range(n):
        session.push(sounds[k % len(sounds)])
        assert engine.turn() == 1
        clock.now += P
        note(k)
        if len(ear.turns) > 50:
            del ear.turns[:-1]
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
    assert ear.turns[-1].micro_turn == n - 1
    assert (ear.turns[-1].late, ear.turns[-1].dropped, ear.turns[-1].waiting) == (0, 0, 0)
    metrics = engine.metrics()
    assert metrics["micro_turns"] == metrics["tick"]["count"] == n
    assert metrics["missed"] == 0
    assert resident[n - 1] < 1.02 * resident[n // 5]


def test_three_minutes_on_a_fake_clock(very_small: LoadedCheckpoint, clock: Clock) -> None:
    an_hour(very_small, clock, HOUR // 20)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_an_hour_on_a_fake_clock(very_small: LoadedCheckpoint, clock: Clock) -> None:
    an_hour(very_small, clock, HOUR)
