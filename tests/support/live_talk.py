"""A talk through the `openai` client: recorded speech in, and every event checked strictly."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from openai.resources.live.live import AsyncLiveConnection
from openai.types.live.server_event import ServerEvent
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from scipy.signal import resample_poly

from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.model.streams.pcm import Audio

RATE = 24_000
PIECE = RATE // 10  # samples, half a micro-turn
FASTER = 4  # than real time at most: answers to a delegation come on the wall's clock
_EVENTS: TypeAdapter[Any] = TypeAdapter(ServerEvent)
_NESTED: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

Event = dict[str, Any]
Answer = Callable[[Event], Awaitable[None]]


def checked(data: bytes) -> Event:
    """Read an event as the client's own types do, strictly; nothing may be left over."""
    values: Event = json.loads(data)
    event = _EVENTS.validate_json(data, strict=True)
    assert not unknown_fields(event), f"fields that the protocol has not: {unknown_fields(event)}"
    if values["type"] == "response.event":
        _NESTED.validate_json(json.dumps(values["event"]), strict=True)
    return values


def unknown_fields(value: object) -> list[str]:
    """Name the fields that the client's types do not have."""
    if isinstance(value, BaseModel):
        below = [name for field in value.__dict__.values() for name in unknown_fields(field)]
        return [*(value.model_extra or {}), *below]
    if isinstance(value, list):
        return [name for item in value for name in unknown_fields(item)]
    return []


@dataclass
class Talk:
    """What came back of one conversation; audio is at 24 kHz."""

    events: list[Event] = field(default_factory=list)
    pieces: list[Audio] = field(default_factory=list)
    # Cleared while the agent of the server works, which takes its time on the wall's clock.
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.goes_on.set()

    def note(self, event: Event) -> None:
        """Keep an event, and wait for the agent of the server from its beginning to its end."""
        self.events.append(event)
        if event["type"] == "session.delegation.created":
            if event["delegation"]["target"] == "responses":
                self.goes_on.clear()
        elif event["type"] == "response.event" and event["event"]["type"] == "response.completed":
            self.goes_on.set()

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    def transcript(self, side: str) -> str:
        deltas = self.of_type(f"session.{side}_transcript.delta")
        return "".join(event["delta"] for event in deltas)

    @property
    def audio(self) -> Audio:
        return np.concatenate(self.pieces)

    @property
    def codes(self) -> list[str]:
        return [event["code"] for event in self.of_type("info")]


async def talk(
    connection: AsyncLiveConnection, samples: Audio, *, answer: Answer | None = None
) -> Talk:
    """Send samples (24 kHz) after `session.started` and close; no faster than they are answered.

    The start must be on its way. `answer` is called with each event but audio.
    """
    found = Talk()
    feeding: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(120):
            while True:
                event = checked(await connection.recv_bytes())
                if event["type"] == "session.output_audio.delta":
                    found.pieces.append(decode_pcm16(base64.b64decode(event["delta"])))
                    continue
                found.note(event)
                if event["type"] == "session.started":
                    feeding = asyncio.create_task(_feed(connection, samples, found))
                if answer is not None:
                    await answer(event)
                if event["type"] == "session.closed":
                    return found
    finally:
        if feeding is not None:
            feeding.cancel()


async def _feed(connection: AsyncLiveConnection, samples: Audio, found: Talk) -> None:
    for start in range(0, len(samples), PIECE):
        pcm = base64.b64encode(encode_pcm16(samples[start : start + PIECE])).decode()
        await connection.session.input_audio.append(audio=pcm)
        await asyncio.sleep(PIECE / RATE / FASTER)
        await found.goes_on.wait()
        while start // (2 * PIECE) > len(found.pieces) + 1:
            await asyncio.sleep(0.002)
    await connection.session.close()


def at_24_khz(samples: Audio) -> Audio:
    """Return a recording of 16 kHz at the rate that the protocol begins with."""
    return resample_poly(samples, 3, 2).astype(np.float32)


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * RATE), np.float32)
