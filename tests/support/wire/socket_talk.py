"""Talks over `/ws` through a real server: a client that keeps everything, and what it compares."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from microturn.inference.audio import encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.streams.pcm import Audio
from tests.support.sleeping_server import Running, running, very_small_checkpoint

WAIT_S: Final = 20.0
# What a micro-turn tells of the machine, and not of the conversation.
OF_THE_MACHINE: Final = ("lag_ms", "waiting", "deadline_missed", "token", "session")

Message = str | bytes


class TalkingClient:
    """A client that keeps what it has sent until it is over, over all its connections."""

    def __init__(self, server: Running) -> None:
        self._server, self.token = server, ""
        self.sent: list[Message] = []
        self.received: list[Message] = []

    def connect(self, **query: object) -> websockets.connect:
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return websockets.connect(f"{self._server.socket_url}?{words}", max_size=None)

    async def send(self, socket: ClientConnection, message: Message) -> None:
        self.sent.append(message)
        await socket.send(message)

    async def receive(self, socket: ClientConnection) -> Message:
        message = await asyncio.wait_for(socket.recv(), WAIT_S)
        self.received.append(message)
        return message

    async def greet(self, socket: ClientConnection) -> None:
        self.token = json.loads(await self.receive(socket))["token"]
        await self.send(socket, '{"type": "hello", "protocol": 2}')

    async def resume(self, socket: ClientConnection) -> dict[str, Any]:
        """Read what was lost on the way here, and send again what was lost on the way there."""
        while not is_type(message := await self.receive(socket), "resumed"):
            pass
        state: dict[str, Any] = json.loads(message)
        for lost in self.sent[state["received"] :]:
            await socket.send(lost)
        return state

    async def say(self, socket: ClientConnection, samples: Audio) -> None:
        """Send whole micro-turns one by one and wait for their answers."""
        for start in range(0, len(samples), 3_200):
            n = self.n_answers + 1
            await self.send(socket, encode_pcm16(samples[start : start + 3_200]))
            while self.n_answers < n:
                await self.receive(socket)

    async def until(self, socket: ClientConnection, kind: str) -> dict[str, Any]:
        while not is_type(message := await self.receive(socket), kind):
            pass
        values: dict[str, Any] = json.loads(message)
        return values

    async def close(self, socket: ClientConnection) -> None:
        await self.send(socket, '{"type": "close"}')
        await self.until(socket, "closed")
        await socket.wait_closed()

    @property
    def n_answers(self) -> int:
        return sum(isinstance(message, bytes) for message in self.received)


def is_type(message: Message, kind: str) -> bool:
    return isinstance(message, str) and json.loads(message)["type"] == kind


def conversation_of(messages: list[Message]) -> list[object]:
    """What was said and told, without what depends on the machine."""
    told: list[object] = []
    for message in messages:
        values = message if isinstance(message, bytes) else json.loads(message)
        if isinstance(values, dict):
            if values["type"] == "resumed":
                continue
            values = {k: v for k, v in values.items() if k not in OF_THE_MACHINE}
        told.append(values)
    return told


def server_with(n_rows: int = 1, *, rewind: int = 0, **settings: Any) -> Any:
    """Run a server whose model is very small, and goes back by `rewind` micro-turns."""
    settings = {"max_waiting_micro_turns": 100, "max_behind_ms": 0.0, "admit_share": 0, **settings}
    config = ServeConfig(max_sessions=n_rows, **settings)
    batch = RowBatch(very_small_checkpoint(), n_rows, rewind=rewind)
    return running(LiveEngine(batch, config), config)


def noise(seed: int, n_micro_turns: int) -> Audio:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(n_micro_turns * 3_200)
    return samples.astype(np.float32)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


async def begin(server: Running) -> tuple[TalkingClient, ClientConnection]:
    client = TalkingClient(server)
    socket = await client.connect()
    await client.greet(socket)
    await client.send(socket, bytes(6_400))
    while not client.n_answers:  # so the hello was read
        await client.receive(socket)
    return client, socket


async def refusal(server: Running, path: str) -> str:
    """Return the sentence of a server that refuses a client in its own protocol."""
    async with websockets.connect(f"ws://127.0.0.1:{server.port}{path}") as socket:
        error = json.loads(await socket.recv())
        assert json.loads(await socket.recv())["type"] == "closed"
        with pytest.raises(websockets.ConnectionClosedError, match="1008"):
            await socket.recv()
    sentence: str = error["message"]
    return sentence
