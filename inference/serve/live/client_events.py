"""The events of a client."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from microturn.inference.serve.live.session_config import ForkConfig, SessionConfig, SessionUpdate
from microturn.inference.serve.wire.event_reader import EventReader, Strict

MAX_CONTENT: Final = 4_000  # characters of an appended text; the protocol allows 500 tokens


class LiveEvent(Strict):
    event_id: str | None = None


class SessionStart(LiveEvent):
    type: Literal["session.start"]
    session: SessionConfig


class ForkStart(LiveEvent):
    type: Literal["session.start"]
    session: ForkConfig


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


LaterEvent = SessionUpdated | AudioAppend | Mute | TextAppend | SessionClose
ClientEvent = SessionStart | LaterEvent
ForkEvent = ForkStart | LaterEvent

_EVENTS: Final[TypeAdapter[ClientEvent]] = TypeAdapter(
    Annotated[ClientEvent, Field(discriminator="type")]
)
_FORK_EVENTS: Final[TypeAdapter[ForkEvent]] = TypeAdapter(
    Annotated[ForkEvent, Field(discriminator="type")]
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


_LATER: Final = (SessionUpdated, AudioAppend, Mute, TextAppend, SessionClose)
_READER: Final = EventReader(_EVENTS, kinds=(SessionStart, *_LATER), unsupported=UNSUPPORTED)
_FORK_READER: Final = EventReader(_FORK_EVENTS, kinds=(ForkStart, *_LATER), unsupported=UNSUPPORTED)


def read_event(data: str | bytes) -> ClientEvent:
    """Read one message of the client; raises EventError."""
    return _READER.read(data)


def read_fork_event(data: str | bytes) -> ForkEvent:
    """Read one message of the client of a fork; raises EventError."""
    return _FORK_READER.read(data)
