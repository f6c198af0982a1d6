"""The events of a client of Realtime."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from microturn.inference.serve.codec import Json
from microturn.inference.serve.realtime.items import Items, message
from microturn.inference.serve.realtime.session_config import (
    MAX_INSTRUCTIONS,
    RealtimeOutput,
    RealtimeSession,
)
from microturn.inference.serve.wire.event_reader import EventReader, Strict

MAX_TEXT: Final = 4_000  # characters of a message
MAX_OUTPUT: Final = 65_536  # characters of a function's output
_MAX_PARTS: Final = 8  # of a message


class RealtimeEvent(Strict):
    event_id: str | None = None


class RealtimeUpdate(RealtimeEvent):
    type: Literal["session.update"]
    session: RealtimeSession


class BufferAppend(RealtimeEvent):
    type: Literal["input_audio_buffer.append"]
    audio: str


class InputText(Strict):
    type: Literal["input_text"]
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class InputImage(Strict):
    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] | None = None


class Item(Strict):
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


_Part = Annotated[InputText | InputImage, Field(discriminator="type")]


class Message(Item):
    """What the user types or shows, or instructions."""

    type: Literal["message"]
    role: Literal["user", "system"]
    content: Annotated[list[_Part], Field(min_length=1, max_length=_MAX_PARTS)]


class FunctionOutput(Item):
    """What a function of the client returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: Annotated[str, Field(max_length=MAX_OUTPUT)]

    def result(self) -> str:
        """Return what is to be said: out of JSON, if that holds one value alone."""
        try:
            value = json.loads(self.output)
        except (ValueError, RecursionError):
            return self.output
        if isinstance(value, dict) and len(value) == 1:
            (value,) = value.values()
        return str(value) if isinstance(value, str | int | float) else self.output


def written(item: Message | FunctionOutput, items: Items) -> Json:
    """Write an item of the client as it is kept: with an id, and without its pictures."""
    name = item.id or items.new_id()
    if isinstance(item, FunctionOutput):
        values = item.model_dump(include={"type", "call_id", "output"})
        return {**values, "id": name, "object": "realtime.item", "status": "completed"}
    content = [part.model_dump(exclude={"image_url"}, exclude_none=True) for part in item.content]
    return message(name, item.role, content)


class ItemCreate(RealtimeEvent):
    type: Literal["conversation.item.create"]
    item: Annotated[Message | FunctionOutput, Field(discriminator="type")]
    previous_item_id: str | None = None


class ItemRetrieve(RealtimeEvent):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemDelete(RealtimeEvent):
    type: Literal["conversation.item.delete"]
    item_id: str


class ItemTruncate(RealtimeEvent):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: Literal[0]
    audio_end_ms: Annotated[int, Field(ge=0)]


class ResponseAudio(Strict):
    output: RealtimeOutput | None = None


class ResponseSettings(Strict):
    """`response` of `response.create`: wishes, and else what holds of every response."""

    instructions: Annotated[str, Field(max_length=MAX_INSTRUCTIONS)] | None = None
    metadata: dict[str, str] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    audio: ResponseAudio | None = None
    conversation: Literal["auto"] | None = None
    max_output_tokens: Literal["inf"] | None = None
    output_modalities: Annotated[list[Literal["audio"]], Field(max_length=1)] | None = None


class ResponseCreate(RealtimeEvent):
    type: Literal["response.create"]
    response: ResponseSettings | None = None


class ResponseCancel(RealtimeEvent):
    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = (
    RealtimeUpdate
    | BufferAppend
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)

_EVENTS: Final[TypeAdapter[ClientEvent]] = TypeAdapter(
    Annotated[ClientEvent, Field(discriminator="type")]
)
# Events that Realtime has and this server has not, and what to do instead.
UNSUPPORTED: Final = {
    "input_audio_buffer.commit": "the model hears audio as it comes and takes turns itself",
    "input_audio_buffer.clear": "what was sent is heard already",
    "output_audio_buffer.clear": "cancel the response, and truncate its item",
}
_READER: Final = EventReader(
    _EVENTS,
    kinds=(
        RealtimeUpdate,
        BufferAppend,
        ItemCreate,
        ItemRetrieve,
        ItemDelete,
        ItemTruncate,
        ResponseCreate,
        ResponseCancel,
    ),
    unsupported=UNSUPPORTED,
)


def read_event(data: str | bytes) -> ClientEvent:
    """Read one message of the client; raises EventError."""
    return _READER.read(data)
