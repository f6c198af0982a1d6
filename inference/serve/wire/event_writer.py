"""Events of the server in JSON, as far as protocols share them."""

from __future__ import annotations

from microturn.inference.serve.codec import Json, ServerMessage
from microturn.inference.serve.wire.event_reader import EventError


class EventWriter:
    """Writes the events of one session and numbers them."""

    def __init__(self) -> None:
        self._n_events = 0

    def write(self, kind: str, *, is_audio: bool = False, **fields: object) -> ServerMessage:
        """Write an event; a field that is None is null."""
        self._n_events += 1
        values: Json = {"type": kind, "event_id": f"event_{self._n_events}", **fields}
        return ServerMessage.from_json(values, is_audio=is_audio)


def error_values(error: EventError) -> Json:
    """Write what an error is, without the event that it is about."""
    values: Json = {
        "type": "server_error" if error.code == "server_error" else "invalid_request_error",
        "code": error.code,
        "message": str(error),
    }
    if error.param:
        values["param"] = error.param
    return values
