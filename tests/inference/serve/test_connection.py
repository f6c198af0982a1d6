"""A connection without its protocol: the outbox, and a codec of another protocol."""

import base64
import importlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from microturn.inference import serve
from microturn.inference.audio import Reassembler, encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve import server
from microturn.inference.serve.codec import (
    ClientMessage,
    ClientRefused,
    Codec,
    EndKind,
    MicrophoneAudio,
    ServedModel,
    ServerMessage,
    WrongMessage,
)
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.outbox import Outbox
from microturn.inference.serve.protocol import MicroturnCodec
from microturn.inference.serve.report import Done, MicroTurnReport
from microturn.model.streams import StreamLayout


def test_audio_that_a_client_does_not_read_does_not_pile_up() -> None:
    outbox = Outbox()
    for k in range(100):
        outbox.put(ServerMessage.from_json({"type": "micro_turn", "micro_turn": k}))
        outbox.put(ServerMessage(payload=bytes([k]), is_audio=True))
    assert outbox.dropped == 75
    assert not outbox.is_overflowing
    for _ in range(1_000):
        outbox.put(ServerMessage.from_json({"type": "micro_turn"}))
    assert outbox.is_overflowing


class Base64Codec:
    """Audio as base64 in JSON both ways, as other realtime protocols send it."""

    def __init__(self, served: ServedModel) -> None:
        self._pieces = Reassembler(served.layout.samples_per_micro_turn)

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return "realtime" if "realtime" in offered else None

    def decode(self, data: str | bytes) -> Sequence[ClientMessage | ServerMessage]:
        if isinstance(data, bytes):
            raise ClientRefused("send JSON", event_id="last")
        values = json.loads(data)
        if "session" in values:
            return [ServerMessage.from_json({"type": "session.updated"})]
        if "audio" not in values:
            raise WrongMessage("send audio", event_id=values.get("event_id"))
        pcm16 = base64.b64decode(values["audio"])
        return [MicrophoneAudio(audio=audio) for audio in self._pieces.add_pcm16(pcm16)]

    def greeting(self, session: str, *, warning: str) -> list[ServerMessage]:
        return [ServerMessage.from_json({"type": "session.created", "id": session})]

    def encode_report(self, report: MicroTurnReport, *, dropped_output: int) -> list[ServerMessage]:
        audio = base64.b64encode(encode_pcm16(report.output.audio)).decode()
        return [ServerMessage(payload=json.dumps({"type": "delta", "audio": audio}), is_audio=True)]

    def encode_dropped_output(
        self, micro_turns: Sequence[int], *, n_dropped: int
    ) -> list[ServerMessage]:
        return []

    def encode_done(self, done: Done) -> list[ServerMessage]:
        return []

    def encode_error(self, error: WrongMessage) -> list[ServerMessage]:
        values = {"type": "error", "message": str(error), "event_id": error.event_id}
        return [ServerMessage.from_json(values)]

    def farewell(self, reason: str, *, kind: EndKind) -> list[ServerMessage]:
        return []


def test_another_protocol_is_a_codec_and_a_path(
    one_row: RowBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server.PROTOCOLS, "/other", Base64Codec)
    app = server.create_app(LiveEngine(one_row, ServeConfig()), ServeConfig())
    spm = one_row.layout.samples_per_micro_turn

    def receive() -> dict[str, Any]:
        values: dict[str, Any] = json.loads(socket.receive()["text"])
        return values

    with (
        TestClient(app, base_url="http://127.0.0.1:8765") as client,
        client.websocket_connect("/other", subprotocols=["v0", "realtime"]) as socket,
    ):
        assert socket.accepted_subprotocol == "realtime"
        assert receive() == {"type": "session.created", "id": "s1"}
        socket.send_text('{"session": {}}')
        assert receive() == {"type": "session.updated"}
        socket.send_text('{"event_id": "e7"}')
        assert receive() == {"type": "error", "message": "send audio", "event_id": "e7"}
        socket.send_text("no JSON")
        assert receive()["event_id"] is None
        socket.send_text(json.dumps({"audio": base64.b64encode(bytes(2 * spm)).decode()}))
        delta = receive()
        assert delta["type"] == "delta"
        assert len(base64.b64decode(delta["audio"])) == 2 * spm
        socket.send_bytes(b"")
        assert receive() == {"type": "error", "message": "send JSON", "event_id": "last"}
        assert socket.receive()["type"] == "websocket.close"


def test_every_codec_has_a_path() -> None:
    methods = {name for name in vars(Codec) if not name.startswith("_")}
    codecs = set()
    folder = Path(server.__file__).parent
    for path in folder.rglob("*.py"):
        name = ".".join((serve.__name__, *path.relative_to(folder).with_suffix("").parts))
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if kind is not Codec and methods <= set(dir(kind)):
                codecs.add(kind)
    assert codecs == set(server.PROTOCOLS.values())


def test_the_own_protocol_selects_no_subprotocol(one_row: RowBatch) -> None:
    app = server.create_app(LiveEngine(one_row, ServeConfig()), ServeConfig())
    with (
        TestClient(app, base_url="http://127.0.0.1:8765") as client,
        client.websocket_connect("/ws", subprotocols=["realtime"]) as socket,
    ):
        assert socket.accepted_subprotocol is None


def test_the_client_is_told_whose_sound_was_not_sent() -> None:
    served = ServedModel(layout=StreamLayout(), name="demo")
    (message,) = MicroturnCodec(served).encode_dropped_output([3, 7], n_dropped=5)
    assert json.loads(message.payload) == {
        "type": "dropped",
        "direction": "output",
        "ranges": [[3, 4], [7, 8]],
        "dropped": 5,
        "dropped_s": 1.0,
    }
