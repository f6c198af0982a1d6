"""The events of a client, and the typed error of a wrong one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from microturn.inference.serve.codec import WrongMessage
from microturn.inference.serve.live.session_config import SessionConfig, SessionUpdate, Strict

MAX_CONTENT: Final = 4_000  # characters of an appended text; the protocol allows 500 tokens


class LiveEvent(Strict):
    event_id: str | None = None


class SessionStart(LiveEvent):
    type: Literal["session.start"]
    session: SessionConfig


class SessionUpdated(LiveEvent):
    type: Literal["session.update"]
    session: SessionUpdate


class AudioAppend(LiveEvent):
    type: Literal["session.input_audio.append"]
    audio: str


class Mute(LiveEvent):
    type: Literal["session.input_audio.mute", "session.input_audio.unmute"]


class TextAppend(LiveEvent):
    """Text for the model: instructions, silent thinking, or commentary that it may say."""

    type: Literal[
        "session.instructions.append", "session.thinking.append", "session.commentary.append"
    ]
    content: Annotated[str, Field(min_length=1, max_length=MAX_CONTENT)]
    delegation_id: str | None


class SessionClose(LiveEvent):
    type: Literal["session.close"]


ClientEvent = SessionStart | SessionUpdated | AudioAppend | Mute | TextAppend | SessionClose

_EVENTS: Final[TypeAdapter[ClientEvent]] = TypeAdapter(
    Annotated[ClientEvent, Field(discriminator="type")]
)
# Events that GPT-Live has and this server has not, and what to do instead.
UNSUPPORTED: Final = {
    "session.output_audio.fixture.play": "play the recording in the client",
    "decision.create": "use delegation of type client or responses",
    "decision.item.create": "use delegation of type client or responses",
    "decision.item.delete": "use delegation of type client or responses",
    "response.item.create": "the agent of this server reads the conversation itself",
    "response.create": "the model of this server decides itself when to delegate",
    "transport.dtmf.send": "there is no telephone here",
}


class LiveError(WrongMessage):
    """A wrong event: a code for programs, a sentence for people, and the field."""

    def __init__(
        self, code: str, sentence: str, *, param: str | None = None, event_id: str | None = None
    ) -> None:
        super().__init__(sentence, event_id=event_id)
        self.code, self.param = code, param


def read_event(data: str | bytes) -> ClientEvent:
    """Read one message of the client; raises LiveError."""
    values = _read_object(data)
    given_id = values.get("event_id")
    event_id = given_id if isinstance(given_id, str) else None
    kind = values.get("type")
    if isinstance(kind, str) and kind in UNSUPPORTED:
        sentence = f"{kind} is not supported by this server: {UNSUPPORTED[kind]}"
        raise LiveError("unsupported_event", sentence, param="type", event_id=event_id)
    try:
        return _EVENTS.validate_python(values)
    except ValidationError as error:
        raise _live_error(error, values, event_id=event_id) from error


def _read_object(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, bytes):
        raise LiveError(
            "invalid_json", "send JSON in text messages; audio is base64 in its event, not binary"
        )
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LiveError("invalid_json", "the message is not JSON") from error
    if not isinstance(values, dict):
        raise LiveError("invalid_json", "the message is no JSON object; send one with a type")
    return values


# What pydantic calls a fault, and the code of the protocol for it.
_CODES: Final = {
    "extra_forbidden": "unknown_parameter",
    "missing": "missing_required_parameter",
    "union_tag_not_found": "missing_required_parameter",
}


def _live_error(error: ValidationError, values: Any, *, event_id: str | None) -> LiveError:
    """Make the typed error of the first fault."""
    first = error.errors(include_url=False, include_context=False)[0]
    kind, path = first["type"], first["loc"]
    if not path:
        sentence = f"type has to be one of {', '.join(_known_types())}"
        return LiveError("unknown_event", sentence, param="type", event_id=event_id)
    param = _field_path(path[1:], values)
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    says = "this server has no such parameter" if code == "unknown_parameter" else first["msg"]
    return LiveError(code, f"{path[0]}: {param}: {says}", param=param, event_id=event_id)


def _field_path(path: Sequence[str | int], values: Any) -> str:
    """Write the path of a field as the client knows it, without pydantic's names of alternatives.

    A step is one into the message, or the last: a field that is missing there.
    """
    steps = []
    for index, step in enumerate(path):
        if isinstance(values, dict) and (step in values or index == len(path) - 1):
            values = values.get(step)
        elif isinstance(values, list) and isinstance(step, int):
            values = values[step]
        else:
            continue
        steps.append(str(step))
    return ".".join(steps)


def _known_types() -> list[str]:
    kinds = (SessionStart, SessionUpdated, AudioAppend, Mute, TextAppend, SessionClose)
    return [name for kind in kinds for name in get_args(kind.model_fields["type"].annotation)]
