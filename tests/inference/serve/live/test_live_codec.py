"""What GPT-Live refuses, in typed errors, and how it ends; without an engine."""

import base64
import json
from typing import Any

import pytest
from openai.types.live.built_in_voice import BuiltInVoice
from openai.types.live.client_event import ClientEvent
from openai.types.live.session_closed_event import SessionClosedEvent
from pydantic import TypeAdapter

from microturn.inference.serve.codec import (
    Close,
    DelegateToClient,
    EndKind,
    MicrophoneAudio,
    ServedModel,
    ServerMessage,
    WrongMessage,
)
from microturn.inference.serve.live.client_events import UNSUPPORTED
from microturn.inference.serve.live.codec import LiveCodec
from microturn.inference.serve.wire.event_reader import EventError
from microturn.model.streams import StreamLayout
from support.live_talk import checked

Event = dict[str, Any]
SERVED = ServedModel(layout=StreamLayout(), name="demo", longest_s=60.0)


def say(codec: LiveCodec, event: Event | str | bytes) -> list[Any]:
    """Send one event; returns events of the server as dictionaries, and all else as it is."""
    data = json.dumps(event) if isinstance(event, dict) else event
    return [
        checked(m.payload.encode())  # type: ignore[union-attr]
        if isinstance(m, ServerMessage)
        else m
        for m in codec.decode(data)
    ]


def start(**session: Any) -> Event:
    return {"type": "session.start", "session": {"model": "demo", **session}, "event_id": "e"}


def started(**session: Any) -> LiveCodec:
    codec = LiveCodec(SERVED)
    say(codec, start(**session))
    return codec


def refusal(codec: LiveCodec, event: Event | str | bytes) -> Event:
    """Send an event that is wrong; returns its `error`, read by the client's own types."""
    with pytest.raises(EventError) as raised:
        say(codec, event)
    (message,) = codec.encode_error(raised.value)
    assert isinstance(message.payload, str)
    error: Event = checked(message.payload.encode())["error"]
    return error


RESPONSES = {"type": "responses", "responses": {"model": "m"}}


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"colour": "red"}, "unknown_parameter", "session.colour"),
        ({"client": {"data_channel": {}}}, "unknown_parameter", "session.client"),
        ({"model": "another"}, "model_not_found", "session.model"),
        ({"model": None}, "invalid_type", "session.model"),
        (
            {"audio": {"format": {"type": "audio/pcmu", "rate": 8000}}},
            "invalid_value",
            "session.audio.format.type",
        ),
        (
            {"audio": {"format": {"type": "audio/pcm", "rate": 44100}}},
            "invalid_value",
            "session.audio.format.rate",
        ),
        ({"delegation": {"type": "decisions"}}, "invalid_value", "session.delegation"),
        (
            {"delegation": {"type": "responses"}},
            "missing_required_parameter",
            "session.delegation.responses",
        ),
        (
            {"delegation": {"type": "responses", "responses": {"model": "m", "x": 1}}},
            "unknown_parameter",
            "session.delegation.responses.x",
        ),
        ({"triggers": [{"type": "x"}]}, "invalid_value", "session.triggers"),
        ({"input": [{"role": "user", "content": []}]}, "invalid_value", "session.input.0.content"),
        ({"instructions": 4}, "invalid_type", "session.instructions"),
    ],
)
def test_a_wrong_start_is_a_typed_error_and_may_be_mended(
    session: Event, code: str, param: str
) -> None:
    codec = LiveCodec(SERVED)
    error = refusal(codec, start(**session))
    assert (error["code"], error["param"], error["client_event_id"]) == (code, param, "e")
    assert error["type"] == "invalid_request_error"
    assert say(codec, start())[1]["type"] == "session.started"


@pytest.mark.parametrize("kind", sorted(UNSUPPORTED))
def test_what_is_not_supported_says_so(kind: str) -> None:
    error = refusal(started(), {"type": kind, "event_id": "x", "anything": 1})
    assert error["code"] == "unsupported_event"
    assert kind in error["message"]
    assert error["client_event_id"] == "x"


def test_every_event_of_the_client_library_is_read_or_named_as_unsupported() -> None:
    schema = json.dumps(TypeAdapter(ClientEvent).json_schema())
    kinds = {kind for kind in UNSUPPORTED if kind in schema} | {
        "session.start",
        "session.update",
        "session.input_audio.append",
        "session.input_audio.mute",
        "session.input_audio.unmute",
        "session.instructions.append",
        "session.thinking.append",
        "session.commentary.append",
        "session.close",
    }
    declared = {
        member.model_fields["type"].annotation.__args__[0]
        for member in ClientEvent.__args__[0].__args__  # type: ignore[attr-defined]
    }
    assert kinds == declared


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"\0\0", "invalid_json"),
        ("{", "invalid_json"),
        ("[1]", "invalid_json"),
        ({"type": "nonsense"}, "unknown_event"),
        ({}, "unknown_event"),
        (start(), "session_already_started"),
        ({"type": "session.input_audio.append", "audio": "%"}, "invalid_audio"),
        ({"type": "session.input_audio.append", "audio": "AAAA"}, "invalid_audio"),
        ({"type": "session.input_audio.append"}, "missing_required_parameter"),
        ({"type": "session.commentary.append", "content": "a"}, "missing_required_parameter"),
        (
            {"type": "session.thinking.append", "content": "a" * 4001, "delegation_id": None},
            "invalid_value",
        ),
        ({"type": "session.update", "session": {"model": "x"}}, "unknown_parameter"),
        ({"type": "session.update", "session": {"delegation": RESPONSES}}, "immutable"),
    ],
)
def test_a_wrong_event_is_a_typed_error(event: Event | str | bytes, code: str) -> None:
    assert refusal(started(), event)["code"] == code


def test_nothing_comes_before_the_start() -> None:
    codec = LiveCodec(SERVED)
    assert codec.greeting("s1", warning="") == []
    event = {"type": "session.close", "event_id": "c"}
    assert refusal(codec, event)["code"] == "session_not_started"
    assert codec.farewell("full", kind="broken") == []


def test_a_delegation_of_the_server_takes_no_answers() -> None:
    event = {"type": "session.commentary.append", "content": "a", "delegation_id": "s1-d1"}
    error = refusal(started(delegation=RESPONSES), event)
    assert (error["code"], error["param"]) == ("invalid_value", "delegation_id")


def test_the_client_answers_unless_the_server_is_asked_to() -> None:
    assert DelegateToClient() in say(LiveCodec(SERVED), start())
    assert DelegateToClient() not in say(LiveCodec(SERVED), start(delegation=RESPONSES))


def test_an_update_changes_what_it_names() -> None:
    codec = started(delegation={"type": "responses", "responses": {"model": "m", "tools": []}})
    change = {"type": "responses", "responses": {"instructions": "be brief"}}
    (updated,) = say(codec, {"type": "session.update", "session": {"delegation": change}})
    assert updated["session"]["delegation"] == {
        "type": "responses",
        "responses": {"model": "m", "instructions": "be brief", "tools": []},
    }
    change["responses"] = {"tools": [{"type": "function", "name": "f"}]}  # type: ignore[assignment]
    _, notice = say(codec, {"type": "session.update", "session": {"delegation": change}})
    assert notice["code"] == "backend_settings_not_used"


def test_audio_of_16_khz_goes_through_and_a_muted_microphone_is_silent() -> None:
    codec = started(audio={"format": {"type": "audio/pcm", "rate": 16_000}})
    pcm = base64.b64encode(b"\0\x20" * 3_200).decode()
    loud = {"type": "session.input_audio.append", "audio": pcm}
    (piece,) = say(codec, loud)
    assert isinstance(piece, MicrophoneAudio)
    assert piece.audio.any()
    (muted,) = say(codec, {"type": "session.input_audio.mute", "event_id": "m"})
    assert (muted["type"], muted["client_event_id"]) == ("session.input_audio.muted", "m")
    (piece,) = say(codec, loud)
    assert not piece.audio.any()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("asked", "close_requested"),
        ("expired", "expired"),
        ("broken", "connection_lost"),
    ],
)
def test_the_end_has_a_reason_of_the_protocol(kind: EndKind, reason: str) -> None:
    codec = started()
    assert say(codec, {"type": "session.close"}) == [Close()]
    (message,) = codec.farewell("so it is", kind=kind)
    assert isinstance(message.payload, str)
    event = checked(message.payload.encode())
    SessionClosedEvent.model_validate(event, strict=True)
    assert (event["reason"], event["usage"]) == (reason, {"seconds": 0})


def test_an_error_of_the_engine_keeps_the_id_of_its_event() -> None:
    codec = started()
    (message,) = codec.encode_error(WrongMessage("too much", event_id="x"))
    assert isinstance(message.payload, str)
    error = checked(message.payload.encode())["error"]
    assert (error["message"], error["client_event_id"]) == ("too much", "x")


def test_a_session_has_an_id_that_nobody_can_guess() -> None:
    ids = {say(LiveCodec(SERVED), start())[1]["session"]["id"] for _ in range(20)}
    assert len(ids) == 20
    assert all(len(name) >= 26 for name in ids)


@pytest.mark.parametrize("voice", ["marin", {"id": "voice_1"}])
def test_a_voice_is_named_as_not_used(voice: BuiltInVoice | Event) -> None:
    notices = say(LiveCodec(SERVED), start(audio={"output": {"voice": voice}}))[2:]
    assert [notice["code"] for notice in notices] == ["voice_not_used"]
