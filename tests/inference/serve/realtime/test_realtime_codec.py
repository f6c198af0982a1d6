"""What Realtime takes and refuses, in typed errors, and how it ends; without an engine."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from PIL import Image

from microturn.inference.serve.codec import (
    ContextText,
    DelegateToClient,
    EndKind,
    Instructions,
    ServedModel,
    ServerMessage,
    ShownFrame,
    TypedText,
    WrongMessage,
)
from microturn.inference.serve.realtime.client_events import UNSUPPORTED
from microturn.inference.serve.realtime.codec import RealtimeCodec
from microturn.inference.serve.report import ContextTaken
from microturn.inference.serve.wire.event_reader import EventError
from microturn.model.streams import StreamLayout
from support.wire.realtime_talk import Event, checked

SERVED = ServedModel(layout=StreamLayout(), name="demo", longest_s=60.0)


def read(messages: Any) -> list[Any]:
    """Read events of the server as dictionaries; all else is as it is."""
    return [checked(str(m.payload)) if isinstance(m, ServerMessage) else m for m in messages]


def say(codec: RealtimeCodec, event: Event | str | bytes) -> list[Any]:
    return read(codec.decode(json.dumps(event) if isinstance(event, dict) else event))


def refusal(codec: RealtimeCodec, event: Event | str | bytes) -> Event:
    """Send an event that is wrong; returns its `error`, read by the client's own types."""
    with pytest.raises(EventError) as raised:
        say(codec, event)
    (message,) = read(codec.encode_error(raised.value))
    error: Event = message["error"]
    return error


def update(**session: Any) -> Event:
    return {"type": "session.update", "event_id": "u", "session": {"type": "realtime", **session}}


def item(**values: Any) -> Event:
    return {"type": "conversation.item.create", "event_id": "i", "item": values}


def function(name: str, *parameters: str, kind: str = "string") -> Event:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": kind} for parameter in parameters},
        "required": list(parameters),
    }
    return {"type": "function", "name": name, "parameters": schema}


PCMU = {"format": {"type": "audio/pcmu"}}


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"colour": "red"}, "unknown_parameter", "session.colour"),
        ({"prompt": {"id": "p"}}, "unknown_parameter", "session.prompt"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"model": "another"}, "model_not_found", "session.model"),
        ({"audio": {"input": PCMU}}, "invalid_value", "session.audio.input.format.type"),
        ({"audio": {"output": {"speed": 1.5}}}, "invalid_value", "session.audio.output.speed"),
        (
            {"audio": {"input": {"turn_detection": None}}},
            "invalid_value",
            "session.audio.input.turn_detection",
        ),
        ({"output_modalities": ["text"]}, "invalid_value", "session.output_modalities.0"),
        ({"max_output_tokens": 5}, "invalid_value", "session.max_output_tokens"),
        ({"tools": [function("a"), function("b")]}, "unsupported_value", "session.tools"),
        ({"tools": [function("a", "x", "y")]}, "unsupported_value", "session.tools"),
        ({"tools": [function("a", "x", kind="number")]}, "unsupported_value", "session.tools"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "unknown_parameter", None),
        (
            {"tools": [function("a")], "tool_choice": {"type": "function", "name": "b"}},
            "invalid_value",
            "session.tool_choice.name",
        ),
    ],
)
def test_a_wrong_update_is_a_typed_error_and_changes_nothing(
    session: Event, code: str, param: str | None
) -> None:
    codec = RealtimeCodec(SERVED)
    (before,) = read(codec.greeting("s", warning=""))
    error = refusal(codec, update(**session))
    assert error["event_id"] == "u"
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert (error["code"], error["param"]) == (code, param)
    (updated,) = say(codec, update())
    assert updated["session"] == before["session"]


def test_what_clients_send_unasked_is_taken_and_the_session_says_what_holds() -> None:
    codec = RealtimeCodec(SERVED)
    asked = update(
        model="gpt-realtime-2.1",
        tracing="auto",
        audio={
            "input": {
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "server_vad", "threshold": 0.5},
            },
            "output": {"voice": "ash", "format": {"type": "audio/pcm", "rate": 24_000}},
        },
    )
    session = say(codec, asked)[0]["session"]
    assert (session["model"], session["audio"]["output"]["voice"]) == ("demo", "demo")
    assert session["audio"]["input"]["transcription"] == {"model": "demo"}
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "create_response": True,
        "interrupt_response": True,
    }


def test_functions_are_called_by_the_client_from_then_on() -> None:
    codec = RealtimeCodec(SERVED)
    asked, updated = say(codec, update(tools=[function("a", "question")]))
    assert isinstance(asked, DelegateToClient)
    assert updated["session"]["tools"][0]["name"] == "a"
    two = [function("a"), function("b")]
    (updated,) = say(codec, update(tools=two, tool_choice={"type": "function", "name": "b"}))
    assert updated["session"]["tool_choice"] == {"type": "function", "name": "b"}
    assert refusal(codec, update(tools=[]))["code"] == "immutable"


def test_instructions_that_were_not_read_are_no_part_of_the_session() -> None:
    codec = RealtimeCodec(SERVED)
    messages = codec.decode(json.dumps(update(instructions="Be 4 people.")))
    asked = next(messages)
    assert isinstance(asked, Instructions)
    assert asked.on_refusal is not None
    asked.on_refusal("the model cannot spell '4'")
    updated, added, done = read(messages)
    assert updated["session"]["instructions"] == ""
    assert added["item"] == done["item"]
    assert added["item"]["role"] == "system"
    assert "cannot spell '4'" in added["item"]["content"][0]["text"]


@pytest.mark.parametrize("kind", sorted(UNSUPPORTED))
def test_what_is_not_supported_says_so(kind: str) -> None:
    error = refusal(RealtimeCodec(SERVED), {"type": kind, "event_id": "x", "anything": 1})
    assert (error["code"], error["event_id"]) == ("unsupported_event", "x")
    assert kind in error["message"]


def test_every_event_of_the_client_library_is_read_or_named_as_unsupported() -> None:
    declared = {
        member.model_fields["type"].annotation.__args__[0]
        for member in RealtimeClientEvent.__args__[0].__args__  # type: ignore[attr-defined]
    }
    read_here = {
        "session.update",
        "input_audio_buffer.append",
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "conversation.item.truncate",
        "response.create",
        "response.cancel",
    }
    assert read_here | set(UNSUPPORTED) == declared


def text(kind: str = "input_text") -> list[Event]:
    return [{"type": kind, "text": "hello"}]


PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"\0\0", "invalid_json"),
        ("{", "invalid_json"),
        ({"type": "nonsense"}, "unknown_event"),
        ({"type": "input_audio_buffer.append", "audio": "%"}, "invalid_audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "invalid_audio"),
        (item(type="message", role="assistant", content=text("output_text")), "invalid_value"),
        (item(type="message", role="user", content=[{"type": "input_audio"}]), "invalid_value"),
        (item(type="message", role="user", content=[PICTURE]), "input_image_not_supported"),
        (item(type="function_call_output", call_id="c", output="11"), "invalid_value"),
        (
            {"type": "conversation.item.retrieve", "item_id": "x"},
            "item_retrieve_invalid_item_id",
        ),
        (
            {
                "type": "conversation.item.truncate",
                "item_id": "x",
                "content_index": 0,
                "audio_end_ms": 1,
            },
            "item_truncate_invalid_item_id",
        ),
        ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id"),
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "response.create", "response": {"input": []}}, "unknown_parameter"),
        ({"type": "response.create", "response": {"tool_choice": "required"}}, "invalid_value"),
        ({"type": "response.create", "response": {"conversation": "none"}}, "invalid_value"),
    ],
)
def test_a_wrong_event_is_a_typed_error(event: Event | str | bytes, code: str) -> None:
    assert refusal(RealtimeCodec(SERVED), event)["code"] == code


def test_a_response_may_be_asked_for_with_what_holds_of_every_response() -> None:
    holds: Event = {
        "tool_choice": "auto",
        "conversation": "auto",
        "max_output_tokens": "inf",
        "output_modalities": ["audio"],
        "audio": {"output": {"voice": "marin", "format": {"type": "audio/pcm", "rate": 24_000}}},
    }
    assert say(RealtimeCodec(SERVED), {"type": "response.create", "response": holds}) == []


def test_livekit_knows_a_cancellation_that_came_too_late_by_its_words() -> None:
    error = refusal(RealtimeCodec(SERVED), {"type": "response.cancel"})
    assert error["message"].startswith("Cancellation failed")


def test_typed_text_and_instructions_are_items() -> None:
    codec = RealtimeCodec(SERVED)
    typed, added, done = say(codec, item(type="message", role="user", content=text(), id="mine"))
    assert typed == TypedText(text="hello")
    assert (added["item"]["id"], added["type"], done["type"]) == (
        "mine",
        "conversation.item.added",
        "conversation.item.done",
    )
    (context,) = say(codec, item(type="message", role="system", content=text()))
    assert isinstance(context, ContextText)
    assert (context.kind, context.text) == ("instructions", "hello")
    taken = ContextTaken(kind="instructions", micro_turn=3, event_id=context.event_id)
    added, done = read(codec.encode_done(taken))
    assert (added["previous_item_id"], added["item"]["role"]) == ("mine", "system")


def test_a_refused_text_is_no_item_and_its_error_has_the_id_that_the_client_gave() -> None:
    codec = RealtimeCodec(SERVED)
    event = item(type="message", role="system", content=text())
    del event["event_id"]
    (context,) = say(codec, event)
    (error,) = read(codec.encode_error(WrongMessage("no", event_id=context.event_id)))
    assert "event_id" not in error["error"]
    taken = ContextTaken(kind="instructions", micro_turn=3, event_id=context.event_id)
    assert codec.encode_done(taken) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_model_with_eyes_sees_a_picture(kind: str) -> None:
    layout = StreamLayout(video_rows=1, video_cols=2)
    codec = RealtimeCodec(ServedModel(layout=layout, name="demo"))
    file = io.BytesIO()
    Image.new("RGB", (300, 200), (200, 30, 60)).save(file, kind)
    data = base64.b64encode(file.getvalue()).decode()
    url = f"data:image/{kind.lower()};base64,{data}"
    content = [{"type": "input_image", "image_url": url, "detail": "low"}]
    shown, added, _ = say(codec, item(type="message", role="user", content=content))
    assert isinstance(shown, ShownFrame)
    assert (shown.lane, shown.frame.shape) == ("video", (40, 80, 3))
    np.testing.assert_allclose(shown.frame[20, 40], (200, 30, 60), atol=3)
    assert added["item"]["content"] == [{"type": "input_image", "detail": "low"}]
    broken = item(type="message", role="user", content=[PICTURE])
    assert refusal(codec, broken)["param"] == "item.content.0.image_url"


@pytest.mark.parametrize(
    ("kind", "code"), [("asked", None), ("expired", "session_expired"), ("broken", "server_error")]
)
def test_the_end_is_an_error_unless_the_client_asked(kind: EndKind, code: str | None) -> None:
    codec = RealtimeCodec(SERVED)
    codes = [event["error"]["code"] for event in read(codec.farewell("so it is", kind=kind))]
    assert codes == ([code] if code else [])
    read(codec.encode_error(WrongMessage("full")))
    assert codec.farewell("full", kind="broken") == []
