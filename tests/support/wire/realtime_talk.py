"""A talk through the `openai` client's `client.realtime`; every event is checked strictly."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter

from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.model.streams.pcm import Audio
from support.live_talk import unknown_fields

_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_PIECE = 2_400  # samples, half a micro-turn
# What the server's own documentation of the session has, and the client's type has not.
_BESIDE_TYPES = {"id", "object"}

Event = dict[str, Any]


def checked(data: str | bytes) -> Event:
    """Read an event as the client's own types do, strictly; nothing may be left over."""
    event = _EVENTS.validate_json(data, strict=True)
    values: Event = json.loads(data)
    allowed = _BESIDE_TYPES if values["type"].startswith("session.") else set()
    assert set(unknown_fields(event)) <= allowed, unknown_fields(event)
    if values["type"].startswith("conversation.item.") and "item" in values:
        _check_item(values)
    return values


def _check_item(event: Event) -> None:
    """Check what the Python types let a server leave out, and other clients need."""
    if event["type"].endswith((".added", ".done")):
        assert "previous_item_id" in event
    for part in event["item"].get("content", ()):
        assert "transcript" in part or not part["type"].endswith("_audio")


class Talk:
    """One conversation: what came back of it so far; audio is at 24 kHz."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Event] = []

    async def until(self, kind: str, matches: Callable[[Event], bool] = lambda _: True) -> Event:
        """Receive up to an event and return it."""
        async with asyncio.timeout(60):
            while True:
                event = checked(await self.connection.recv_bytes())
                self.events.append(event)
                if event["type"] == kind and matches(event):
                    return event

    async def send(self, samples: Audio) -> None:
        for start in range(0, len(samples), _PIECE):
            pcm = base64.b64encode(encode_pcm16(samples[start : start + _PIECE])).decode()
            await self.connection.input_audio_buffer.append(audio=pcm)

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    def audio(self, item_id: str) -> Audio:
        deltas = self.of_type("response.output_audio.delta")
        pieces = [base64.b64decode(e["delta"]) for e in deltas if e["item_id"] == item_id]
        return np.concatenate([decode_pcm16(piece) for piece in pieces])


@asynccontextmanager
async def talking(url: str) -> AsyncIterator[Talk]:
    client = AsyncOpenAI(api_key="none", base_url=url)
    async with client.realtime.connect(model="gpt-realtime") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        yield talk
