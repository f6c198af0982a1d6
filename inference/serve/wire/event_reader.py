"""Events of a client in JSON, read strictly: the typed error of a wrong one names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from microturn.inference.serve.codec import WrongMessage

Event = TypeVar("Event")


class Strict(BaseModel):
    """A part of a message: unknown fields and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EventError(WrongMessage):
    """A wrong event: a code for programs, a sentence for people, and the field."""

    def __init__(
        self, code: str, sentence: str, *, param: str | None = None, event_id: str | None = None
    ) -> None:
        super().__init__(sentence, event_id=event_id, code=code)
        self.param = param


class EventReader(Generic[Event]):
    """Reads the events of one protocol.

    `kinds` are their models, each with its `type`; `unsupported` are events that the protocol has
    and this server has not, and what to do instead.
    """

    def __init__(
        self,
        events: TypeAdapter[Event],
        *,
        kinds: Sequence[type[BaseModel]],
        unsupported: Mapping[str, str],
    ) -> None:
        self._events, self._unsupported = events, unsupported
        self._known = [
            name for kind in kinds for name in get_args(kind.model_fields["type"].annotation)
        ]

    def read(self, data: str | bytes) -> Event:
        """Read one message of the client; raises EventError."""
        values = _read_object(data)
        given_id = values.get("event_id")
        event_id = given_id if isinstance(given_id, str) else None
        kind = values.get("type")
        if isinstance(kind, str) and kind in self._unsupported:
            sentence = f"{kind} is not supported by this server: {self._unsupported[kind]}"
            raise EventError("unsupported_event", sentence, param="type", event_id=event_id)
        try:
            return self._events.validate_python(values)
        except ValidationError as error:
            raise self._event_error(error, values, event_id=event_id) from error

    def _event_error(
        self, error: ValidationError, values: Any, *, event_id: str | None
    ) -> EventError:
        """Make the typed error of the first fault."""
        first = error.errors(include_url=False, include_context=False)[0]
        kind, path = first["type"], first["loc"]
        if not path:
            sentence = f"type has to be one of {', '.join(self._known)}"
            return EventError("unknown_event", sentence, param="type", event_id=event_id)
        param = _field_path(path[1:], values)
        code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
        says = "this server has no such parameter" if code == "unknown_parameter" else first["msg"]
        return EventError(code, f"{path[0]}: {param}: {says}", param=param, event_id=event_id)


def _read_object(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, bytes):
        raise EventError(
            "invalid_json", "send JSON in text messages; audio is base64 in its event, not binary"
        )
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EventError("invalid_json", "the message is not JSON") from error
    if not isinstance(values, dict):
        raise EventError("invalid_json", "the message is no JSON object; send one with a type")
    return values


# What pydantic calls a fault, and the code of the protocol for it.
_CODES: Final = {
    "extra_forbidden": "unknown_parameter",
    "missing": "missing_required_parameter",
    "union_tag_not_found": "missing_required_parameter",
}


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
