"""The events of one response, from its opening to its end."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final, Literal

from microturn.inference.serve.codec import Json, ServerMessage
from microturn.inference.serve.realtime.items import Items, SpokenItem, function_call
from microturn.inference.serve.wire.event_writer import EventWriter

Cause = Literal["turn_detected", "client_cancelled"]
_CANCELLED: Final = "cancelled"


class Response:
    """One response: what the agent says, and the functions that it calls meanwhile."""

    def __init__(
        self, number: int, events: EventWriter, items: Items, *, metadata: Json | None
    ) -> None:
        self.id = f"resp_{number}"
        self._events, self._items, self._metadata = events, items, metadata
        self._output: list[Json] = []
        self._spoken: SpokenItem | None = None
        self._spoken_index = 0
        self._before: str | None = None  # the item before the spoken one
        self.is_interrupted = False  # the user has begun to speak since

    def open(self) -> ServerMessage:
        return self._events.write("response.created", response=self._resource("in_progress"))

    # --- speech --------------------------------------------------------------------------------
    def speak(self, pcm: bytes, micro_turn: int) -> Iterator[ServerMessage]:
        """Write the sound of one micro-turn."""
        if self._spoken is None:
            yield from self._begin_speech()
        assert self._spoken is not None
        self._spoken.micro_turns.append(micro_turn)
        delta = base64.b64encode(pcm).decode()
        yield self._part_event("response.output_audio.delta", delta=delta, is_audio=True)

    def say(self, word: str, micro_turn: int) -> Iterator[ServerMessage]:
        """Write a word that begins to sound in the piece of a micro-turn."""
        if self._spoken is None:
            yield from self._begin_speech()
        assert self._spoken is not None
        delta = f" {word}" if self._spoken.words else word
        self._spoken.words.append((micro_turn, word))
        yield self._part_event("response.output_audio_transcript.delta", delta=delta)

    def _begin_speech(self) -> Iterator[ServerMessage]:
        self._spoken = SpokenItem(id=self._items.new_id())
        self._spoken_index = len(self._output)
        item = self._spoken.to_json("in_progress")
        self._output.append(item)
        self._before = self._items.add_spoken(self._spoken)
        yield self._item_event("response.output_item.added", self._spoken_index)
        yield self._about_spoken("conversation.item.added", item)
        part = {"type": "audio", "transcript": ""}
        yield self._part_event("response.content_part.added", part=part)

    def _end_speech(self, status: str) -> Iterator[ServerMessage]:
        assert self._spoken is not None
        item = self._output[self._spoken_index] = self._spoken.to_json(status)
        self._items.change(item)
        transcript = self._spoken.transcript()
        yield self._part_event("response.output_audio.done")
        yield self._part_event("response.output_audio_transcript.done", transcript=transcript)
        part = {"type": "audio", "transcript": transcript}
        yield self._part_event("response.content_part.done", part=part)
        yield self._about_spoken("conversation.item.done", item)
        yield self._item_event("response.output_item.done", self._spoken_index)

    # --- functions -----------------------------------------------------------------------------
    def call(self, call_id: str, name: str, arguments: str) -> Iterator[ServerMessage]:
        """Write a call of a function of the client."""
        item_id, index = self._items.new_id(), len(self._output)
        opened = function_call(item_id, call_id, name, "", status="in_progress")
        self._output.append(opened)
        before = self._items.add(opened)
        yield self._item_event("response.output_item.added", index)
        yield self._events.write("conversation.item.added", item=opened, previous_item_id=before)
        place: Json = {
            "response_id": self.id,
            "item_id": item_id,
            "output_index": index,
            "call_id": call_id,
        }
        kind = "response.function_call_arguments"
        yield self._events.write(f"{kind}.delta", **place, delta=arguments)
        yield self._events.write(f"{kind}.done", **place, name=name, arguments=arguments)
        closed = function_call(item_id, call_id, name, arguments, status="completed")
        self._output[index] = closed
        self._items.change(closed)
        yield self._events.write("conversation.item.done", item=closed, previous_item_id=before)
        yield self._item_event("response.output_item.done", index)

    # --- its end -------------------------------------------------------------------------------
    def close(self, cause: Cause | None = None) -> Iterator[ServerMessage]:
        """Write the end; `cause` is why it was cut short."""
        if self._spoken is not None:
            yield from self._end_speech("incomplete" if cause else "completed")
        status = _CANCELLED if cause else "completed"
        done = self._resource(status)
        if cause:
            done["status_details"] = {"type": _CANCELLED, "reason": cause}
        yield self._events.write("response.done", response=done)

    def _resource(self, status: str) -> Json:
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": None,
            "output": list(self._output),
            "output_modalities": ["audio"],
            "metadata": self._metadata,
            "usage": None,
        }

    def _item_event(self, kind: str, index: int) -> ServerMessage:
        return self._events.write(
            kind, response_id=self.id, output_index=index, item=self._output[index]
        )

    def _about_spoken(self, kind: str, item: Json) -> ServerMessage:
        return self._events.write(kind, item=item, previous_item_id=self._before)

    def _part_event(self, kind: str, *, is_audio: bool = False, **fields: object) -> ServerMessage:
        """Write an event about the spoken part."""
        assert self._spoken is not None
        return self._events.write(
            kind,
            is_audio=is_audio,
            response_id=self.id,
            item_id=self._spoken.id,
            output_index=self._spoken_index,
            content_index=0,
            **fields,
        )
