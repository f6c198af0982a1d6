"""The application in process: what goes in and out of the socket, and what goes wrong."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from microturn.inference.agent.process import start_agent
from microturn.inference.answered_recording import answer_recording
from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.conversation import Conversation
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve import connection, pace
from microturn.inference.serve.closing import CLOSE_NOT_ALLOWED
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import MicroTurnReport, Problem
from microturn.inference.serve.server import create_app, listen
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio

BASE = "http://127.0.0.1:8765"
WAIT_S = 20.0
# A test sends faster than a person speaks, and should not overflow the queue.
PATIENT = 1_000


class FailingBatch(RowBatch):
    """A model that fails when it hears a loud micro-turn."""

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        if max(np.abs(i.audio).max() for i in inputs.values()) > 0.9:
            raise RuntimeError("too loud")
        return super().step_rows(inputs)


def engine_of(batch: RowBatch, *, waiting: int = PATIENT) -> LiveEngine:
    return LiveEngine(
        batch,
        ServeConfig(max_waiting_micro_turns=waiting, max_behind_ms=0.0),
        agent=start_agent(AgentConfig()),
    )


@contextmanager
def served(batch: RowBatch, **settings: Any) -> Iterator[TestClient]:
    app = create_app(engine_of(batch), ServeConfig(**settings))
    with TestClient(app, base_url=BASE) as client:
        yield client


@pytest.fixture
def client(one_row: RowBatch) -> Iterator[TestClient]:
    with served(one_row) as client:
        yield client


def receive_json(socket: WebSocketTestSession) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(socket.receive()["text"])
    return values


def hello_of(socket: WebSocketTestSession) -> dict[str, Any]:
    """Exchange hellos; returns that of the server."""
    hello = receive_json(socket)
    assert (hello["type"], hello["protocol"]) == ("hello", 2)
    socket.send_json({"type": "hello", "protocol": 2})
    return hello


def until(
    socket: WebSocketTestSession, enough: Callable[[list[dict[str, Any]], list[Audio]], bool]
) -> tuple[list[dict[str, Any]], list[Audio]]:
    events: list[dict[str, Any]] = []
    pieces: list[Audio] = []
    while not enough(events, pieces):
        message = socket.receive()
        assert message["type"] == "websocket.send", message
        if message.get("bytes") is not None:
            pieces.append(decode_pcm16(message["bytes"]))
        else:
            events.append(json.loads(message["text"]))
    return events, pieces


def event_of(socket: WebSocketTestSession, kind: str) -> dict[str, Any]:
    events, _ = until(socket, lambda events, _: bool(events) and events[-1]["type"] == kind)
    return events[-1]


def whole(recording: Audio, loaded: RowBatch) -> Audio:
    spm = loaded.layout.samples_per_micro_turn
    return np.pad(recording, (0, -len(recording) % spm))


# --- the way it should go --------------------------------------------------------------------
def test_socket_gives_what_the_engine_gives(
    checkpoint: LoadedCheckpoint, one_row: RowBatch, client: TestClient, recording: Audio
) -> None:
    sound = decode_pcm16(encode_pcm16(whole(recording, one_row)))
    direct = RowBatch(checkpoint, 1)
    conversation = Conversation(direct.layout, direct.tokenizer, agent=None, config=AgentConfig())
    expected = answer_recording(direct, sound, conversation=conversation, progress=False)
    spm = one_row.layout.samples_per_micro_turn
    n = len(sound) // spm
    with client.websocket_connect("/ws") as socket:
        hello = hello_of(socket)
        data = encode_pcm16(sound)
        for start in range(0, len(data), 1_234):  # pieces that fit nothing
            socket.send_bytes(data[start : start + 1_234])
        events, pieces = until(socket, lambda _, pieces: len(pieces) == n)
        socket.send_json({"type": "close"})
        rest = until(socket, lambda events, _: bool(events) and events[-1]["type"] == "closed")[0]
    assert hello["samples_per_micro_turn"] == spm
    assert hello["sample_rate"] == one_row.layout.sample_rate
    assert hello["layout"]["hash"] == one_row.layout.hash
    answer = np.concatenate(pieces)[: len(sound) - spm]
    assert encode_pcm16(answer) == encode_pcm16(expected.output[spm:])
    turns = [event["micro_turn"] for event in events if event["type"] == "micro_turn"]
    assert turns == list(range(n))
    said = [e["text"] for e in events + rest if e["type"] == "word" and e["side"] == "agent"]
    wanted = [w.text for w in expected.conversation.transcript.words_of("agent")]
    assert said == wanted[: len(said)]
    assert len(said) >= len(wanted) - 1  # the last one was still open when the client left


def test_a_row_that_becomes_free_starts_afresh(client: TestClient, one_row: RowBatch) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(
        5 * one_row.layout.samples_per_micro_turn
    )
    answers = []
    for _ in range(2):
        with client.websocket_connect("/ws") as socket:
            hello_of(socket)
            socket.send_bytes(encode_pcm16(noise.astype(np.float32)))
            answers.append(np.concatenate(until(socket, lambda _, pieces: len(pieces) == 5)[1]))
        wait_until(lambda: client.get("/health").json()["sessions"] == 0)
    assert (answers[0] == answers[1]).all()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_typed_text_is_accepted_and_health_counts(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        hello_of(socket)
        socket.send_json({"type": "hello", "protocol": 2, "format": "pcm16", "sample_rate": 16_000})
        socket.send_json({"type": "text", "text": "eight plus three"})
        assert client.get("/health").json()["sessions"] == 1
        socket.send_json({"type": "close"})
        assert receive_json(socket) == {"type": "closed", "reason": "goodbye"}
    assert client.get("/health").json()["status"] == "ok"


def test_the_page_and_its_parts_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert "<title>microturn</title>" in page.text
    for name in ("app.js", "lanes.js", "audio-worklet.js", "style.css"):
        assert client.get(f"/{name}").status_code == 200
    assert client.get("/../server.py").status_code == 404


# --- garbage ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("not json", "has to be a JSON object"),
        ("[" * 10_000, "has to be a JSON object"),
        ("[" * 100_000, "a text message has 100000 characters; send at most 16384, and audio in"),
        ("[]", "message type null is none of hello, frame, text, cancel, rewind, close"),
        ('{"type": "dance"}', 'message type "dance" is none of'),
        ('{"type": ["a"]}', "is none of"),
        ('{"type": "text"}', "needs a text in 'text'"),
        ('{"type": "text", "text": 5}', "needs a text in 'text'"),
        (json.dumps({"type": "text", "text": "x" * 2_000}), "2000 characters; send at most 1000"),
        ('{"type": "cancel", "delegation_id": "d9"}', "no delegation 'd9' is under way"),
        (
            '{"type": "hello", "protocol": 2, "sample_rate": 48000}',
            "sample_rate 48000 is not supported here; send 16000",
        ),
        (b"\x00\x01\x02", "3 bytes are no whole number of 16-bit samples"),
    ],
)
def test_garbage_is_answered_and_the_conversation_goes_on(
    client: TestClient, one_row: RowBatch, message: str | bytes, sentence: str
) -> None:
    with client.websocket_connect("/ws") as socket:
        hello_of(socket)
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(message)
        error = event_of(socket, "error")
        assert sentence in error["message"]
        assert "\n" not in error["message"]
        socket.send_bytes(bytes(2 * one_row.layout.samples_per_micro_turn))
        assert event_of(socket, "micro_turn")["micro_turn"] == 0


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (bytes(640), 'this server speaks protocol 2: begin with the message {"type": "hello"'),
        ('{"type": "text", "text": "hi"}', "this server speaks protocol 2: begin with"),
        ('{"type": "hello"}', "protocol 1 is not supported here; update the client to protocol 2"),
        ('{"type": "hello", "protocol": 1}', "protocol 1 is not supported here; update the client"),
    ],
)
def test_a_client_of_another_version_is_refused(
    client: TestClient, message: str | bytes, sentence: str
) -> None:
    with client.websocket_connect("/ws") as socket:
        assert receive_json(socket)["protocol"] == 2
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(message)
        error = receive_json(socket)
        assert error["type"] == "error"
        assert sentence in error["message"]
        assert "docs/socket.md" in error["message"]
        assert receive_json(socket) == {"type": "closed", "reason": error["message"]}
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert caught.value.code == CLOSE_NOT_ALLOWED


def test_endless_garbage_is_refused(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        hello_of(socket)
        for _ in range(pace.MAX_ERRORS):
            socket.send_text("{")
        assert "messages were wrong" in event_of(socket, "closed")["reason"]
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert caught.value.code == CLOSE_NOT_ALLOWED
    assert client.get("/health").status_code == 200


def test_a_failed_micro_turn_ends_its_conversation_and_not_the_server(
    checkpoint: LoadedCheckpoint, one_row: RowBatch
) -> None:
    spm = one_row.layout.samples_per_micro_turn
    with served(FailingBatch(checkpoint, 1)) as client:
        with client.websocket_connect("/ws") as socket:
            hello_of(socket)
            socket.send_bytes(encode_pcm16(np.ones(spm, np.float32)))
            assert event_of(socket, "error")["message"] == "the model failed: too loud"
            assert event_of(socket, "closed")
        wait_until(lambda: client.get("/health").json()["sessions"] == 0)
        with client.websocket_connect("/ws") as socket:
            hello_of(socket)
            socket.send_bytes(bytes(2 * spm))
            assert event_of(socket, "micro_turn")["micro_turn"] == 0


# --- who may come in -------------------------------------------------------------------------
def test_one_session_too_many_is_refused_until_another_ends(client: TestClient) -> None:
    with client.websocket_connect("/ws") as first:
        hello_of(first)
        with client.websocket_connect("/ws") as second:
            assert "all 1 sessions are in use" in receive_json(second)["message"]
            assert receive_json(second)["type"] == "closed"
            with pytest.raises(WebSocketDisconnect) as caught:
                second.receive_text()
            assert caught.value.code == connection.CLOSE_FULL
        first.send_json({"type": "close"})
        event_of(first, "closed")
    wait_until(lambda: client.get("/health").json()["sessions"] == 0)
    with client.websocket_connect("/ws") as third:
        hello_of(third)


def test_a_silent_connection_is_closed(one_row: RowBatch) -> None:
    with served(one_row, idle_s=0.05) as client, client.websocket_connect("/ws") as socket:
        hello_of(socket)
        assert "no audio was sent for 0.05 s" in event_of(socket, "closed")["reason"]


def test_only_audio_keeps_a_conversation(one_row: RowBatch) -> None:
    """Typed text and pieces too small to be a micro-turn do not."""
    with served(one_row, idle_s=0.3) as client, client.websocket_connect("/ws") as socket:
        hello_of(socket)
        started = time.monotonic()
        for _ in range(20):
            socket.send_json({"type": "cancel", "delegation_id": "d1"})
            socket.send_bytes(bytes(2))
            time.sleep(0.03)
        assert event_of(socket, "closed")["reason"] == "no audio was sent for 0.3 s"
        assert time.monotonic() - started < WAIT_S


def test_the_longest_conversation_ends_while_audio_flows(one_row: RowBatch) -> None:
    settings = {"longest_s": 0.3, "audio_ahead_s": 0.0}
    with served(one_row, **settings) as client, client.websocket_connect("/ws") as socket:
        hello_of(socket)
        for _ in range(20):
            socket.send_bytes(bytes(2 * one_row.layout.samples_per_micro_turn))
            time.sleep(0.03)
        reason = event_of(socket, "closed")["reason"]
        assert reason == "the conversation has lasted 0.3 s, which is the longest here"


# --- dropped input and output ----------------------------------------------------------------
class GatedBatch(RowBatch):
    """A model that waits for the test."""

    def __init__(self, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(checkpoint, 1)
        self.entered, self.gate = threading.Event(), threading.Event()
        self.levels: list[float] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        self.levels.append(float(inputs[0].audio.max()))
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        return super().step_rows(inputs)


def test_when_the_model_is_too_slow_all_but_the_newest_input_is_dropped_and_told(
    checkpoint: LoadedCheckpoint, one_row: RowBatch
) -> None:
    batch = GatedBatch(checkpoint)
    engine = engine_of(batch, waiting=3)
    delivered: list[MicroTurnReport | Problem] = []
    engine.start()
    try:
        session = engine.join(delivered.append)
        spm = one_row.layout.samples_per_micro_turn
        session.push_audio(np.full(spm, 0.0, np.float32))
        assert batch.entered.wait(WAIT_S)
        for level in range(1, 9):  # eight more while the first is being worked on
            session.push_audio(np.full(spm, level / 10, np.float32))
        batch.gate.set()
        wait_until(lambda: len(delivered) == 3)
        assert [round(10 * level) for level in batch.levels] == [0, 7, 8]
        reports = [report for report in delivered if isinstance(report, MicroTurnReport)]
        assert [report.micro_turn for report in reports] == [0, 7, 8]
        assert [report.n_passed for report in reports] == [0, 6, 0]
        assert (reports[-1].dropped, reports[-1].waiting) == (6, 0)
        assert engine.health()["dropped"] == 6
    finally:
        batch.gate.set()
        engine.stop()


def test_dropped_input_is_reported_on_the_socket(
    checkpoint: LoadedCheckpoint, one_row: RowBatch
) -> None:
    batch = GatedBatch(checkpoint)
    app = create_app(engine_of(batch, waiting=2), ServeConfig())
    spm = one_row.layout.samples_per_micro_turn
    with TestClient(app, base_url=BASE) as client, client.websocket_connect("/ws") as socket:
        hello_of(socket)
        socket.send_bytes(bytes(2 * spm))
        assert batch.entered.wait(WAIT_S)
        socket.send_bytes(bytes(2 * spm * 6))
        wait_until(lambda: client.get("/health").json()["dropped"] == 4)
        batch.gate.set()
        dropped = event_of(socket, "dropped")
        assert dropped == {
            "type": "dropped",
            "direction": "input",
            "ranges": [[1, 5]],
            "dropped": 4,
            "dropped_s": 0.8,
        }
        assert event_of(socket, "micro_turn")["micro_turn"] == 5


def test_small_messages_leave_at_once() -> None:
    """The kernel would hold the second of two back until the first is acknowledged."""
    held_back: list[int] = []

    class Asked(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            held_back.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0)

    async def connect() -> None:
        with listen("127.0.0.1", 0) as listener:
            async with await asyncio.get_running_loop().create_server(Asked, sock=listener):
                _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
                while not held_back:
                    await asyncio.sleep(0.01)
                writer.close()

    asyncio.run(asyncio.wait_for(connect(), 10))
    assert held_back == [False]
