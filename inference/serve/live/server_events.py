"""The events of the server, each as the dictionary that goes onto the wire.

Every event but `session.output_audio.delta` has an `event_id` of its own. Times are milliseconds
on the clock of the session, which starts with its first sample of audio.
"""

from __future__ import annotations

import base64
from typing import Final, Literal

from microturn.inference.serve.codec import EndKind, Json, ServerMessage
from microturn.inference.serve.wire.event_reader import EventError
from microturn.inference.serve.wire.event_writer import EventWriter, error_values

Target = Literal["client", "responses"]
CloseReason = Literal["close_requested", "expired", "connection_lost"]

CLOSE_REASONS: Final[dict[EndKind, CloseReason]] = {
    "asked": "close_requested",
    "expired": "expired",
    "broken": "connection_lost",
}


class LiveWriter(EventWriter):
    """Writes events of GPT-Live; `client_event_id` is the client's id of one that is answered."""

    def write(self, kind: str, *, is_audio: bool = False, **fields: object) -> ServerMessage:
        """Write an event; fields that are None are left out."""
        given = {name: value for name, value in fields.items() if value is not None}
        return super().write(kind, is_audio=is_audio, **given)

    def info(self, code: str, message: str, *, client_event_id: str | None = None) -> ServerMessage:
        """Write a notice: something that the client asked for is not done as it asked."""
        return self.write("info", client_event_id=client_event_id, code=code, message=message)

    def error(self, error: EventError) -> ServerMessage:
        values = error_values(error)
        if error.event_id is not None:
            values["client_event_id"] = error.event_id
        return self.write("error", client_event_id=error.event_id, error=values)

    def audio(self, pcm: bytes) -> ServerMessage:
        delta = base64.b64encode(pcm).decode()
        values = {"type": "session.output_audio.delta", "delta": delta}
        return ServerMessage.from_json(values, is_audio=True)

    def delegation(self, name: str, *, target: Target, offset_ms: int) -> ServerMessage:
        values: Json = {"type": "delegation", "id": name, "target": target}
        if target == "responses":
            values["response_id"] = f"resp_{name}"
        return self.write("session.delegation.created", delegation=values, offset_ms=offset_ms)
