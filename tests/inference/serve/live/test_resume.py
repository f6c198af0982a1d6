"""A connection that breaks in mid-sentence: the client returns, and not a bit is lost."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest
import websockets
from openai import AsyncOpenAI
from openai.resources.live.live import AsyncLiveConnection

from microturn.inference.audio import encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.streams.pcm import Audio
from support.live_talk import PIECE, at_24_khz, checked
from support.sleeping_server import Running, running, very_small_checkpoint

Event = dict[str, Any]


class Received:
    """What a client has of a session, over all its connections."""

    def __init__(self) -> None:
        self.id, self.n_events, self.audio = "", 0, b""
        self.words: list[Event] = []

    async def next(self, connection: AsyncLiveConnection) -> Event:
        event = checked(await connection.recv_bytes())
        self.n_events += 1
        if event["type"] == "session.started":
            self.id = event["session"]["id"]
        elif event["type"] == "session.output_audio.delta":
            self.audio += base64.b64decode(event["delta"])
        elif event["type"].endswith("transcript.delta"):
            self.words.append({k: v for k, v in event.items() if k != "event_id"})
        return event

    async def until(self, connection: AsyncLiveConnection, kind: str) -> Event:
        while (event := await self.next(connection))["type"] != kind:
            pass
        return event


async def send(connection: AsyncLiveConnection, samples: Audio) -> None:
    for start in range(0, len(samples), PIECE):
        pcm = base64.b64encode(encode_pcm16(samples[start : start + PIECE])).decode()
        await connection.session.input_audio.append(audio=pcm)


async def talk_unbroken(client: AsyncOpenAI, samples: Audio) -> Received:
    received = Received()
    async with client.live.connect() as connection:
        await connection.session.start(session={"model": "m"})
        await received.until(connection, "session.started")
        await send(connection, samples)
        while len(received.audio) < 2 * len(samples):
            await received.next(connection)
        await connection.session.close()
        await received.until(connection, "session.closed")
    return received


async def talk_broken(client: AsyncOpenAI, samples: Audio, server: Running) -> Received:
    """Lose the connection while audio is on its way, both ways, and resume."""
    received = Received()
    connection = await client.live.connect().enter()
    await connection.session.start(session={"model": "m"})
    await received.until(connection, "session.started")
    await send(connection, samples[: 11 * PIECE])
    for _ in range(3):  # two more answers are lost, or on their way
        await received.next(connection)
    await asyncio.sleep(0.3)
    connection._connection.transport.abort()
    assert server.n_sessions == 1
    again = {"resume": received.id, "received": str(received.n_events)}
    async with client.live.connect(extra_query=again) as connection:
        heard = 0
        while not heard:
            event = await received.next(connection)
            if event["type"] == "info":
                assert event["code"] == "resumed"
                state = json.loads(event["message"])
                assert state["lost_events"] == 0
                heard = state["input_samples"]
        assert 0 < heard <= 11 * PIECE
        await send(connection, samples[heard:])
        while len(received.audio) < 2 * len(samples):
            await received.next(connection)
        await connection.session.close()
        await received.until(connection, "session.closed")
    return received


def client_of(server: Running) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.port}/v1")


def server_with(**settings: Any) -> Any:
    patient = {"max_waiting_micro_turns": 100, "max_behind_ms": 0.0}
    config = ServeConfig(checkpoint="runs/m", **{**patient, **settings})
    engine = LiveEngine(RowBatch(very_small_checkpoint(), 1), config)
    return running(engine, config)


@pytest.mark.clients
def test_a_resumed_session_has_the_bits_of_an_unbroken_one(recording: Audio) -> None:
    samples = at_24_khz(recording)
    samples = np.resize(samples, 30 * PIECE)
    with server_with() as server:
        whole = asyncio.run(talk_unbroken(client_of(server), samples))
        wait_until_free(server)
        broken = asyncio.run(talk_broken(client_of(server), samples, server))
        wait_until_free(server)
    assert len(broken.audio) == 2 * len(samples)
    assert broken.audio == whole.audio
    assert np.frombuffer(whole.audio, "<i2").any()
    assert broken.words == whole.words


def wait_until_free(server: Running) -> None:
    for _ in range(500):
        if server.n_sessions == 0:
            return
        asyncio.run(asyncio.sleep(0.02))
    pytest.fail("the place was never given back")


async def start_and_lose(server: Running) -> str:
    received = Received()
    connection = await client_of(server).live.connect().enter()
    await connection.session.start(session={"model": "m"})
    await received.until(connection, "session.started")
    connection._connection.transport.abort()
    return received.id


async def refusal(server: Running, query: str) -> Event:
    url = f"ws://127.0.0.1:{server.port}/v1/live/sessions?{query}"
    async with websockets.connect(url) as socket:
        event = checked((await socket.recv()).encode())  # type: ignore[union-attr]
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    error: Event = event["error"]
    return error


def test_a_place_is_free_after_the_time_to_return() -> None:
    with server_with(resume_s=0.2) as server:
        name = asyncio.run(start_and_lose(server))
        wait_until_free(server)
        error = asyncio.run(refusal(server, f"resume={name}&received=1"))
    assert error["message"].startswith("this session is over or was never here")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("resume=live_x&received=0", "this session is over or was never here"),
        ("resume=%C3%A4&received=0", "this session is over or was never here"),
        ("resume=ID&received=99", "received=99 is no number of messages: 1 were sent"),
        ("resume=ID", "say with received=N how many messages"),
    ],
)
def test_a_return_that_cannot_be_says_why(query: str, sentence: str) -> None:
    with server_with() as server:
        name = asyncio.run(start_and_lose(server))
        error = asyncio.run(refusal(server, query.replace("ID", name)))
        assert sentence in error["message"]
        assert server.n_sessions == 1


def test_a_client_that_closes_keeps_no_place() -> None:
    async def begin_and_close(server: Running) -> None:
        async with client_of(server).live.connect() as connection:
            await connection.session.start(session={"model": "m"})
            await Received().until(connection, "session.started")

    with server_with() as server:
        asyncio.run(begin_and_close(server))
        wait_until_free(server)
