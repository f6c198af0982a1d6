"""Forks of a GPT-Live session, through the `openai` client."""

import asyncio
import base64
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.live.fork_server_event import ForkServerEvent
from pydantic import TypeAdapter

from microturn.inference.audio import encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.streams.pcm import Audio
from support.live_talk import PIECE, checked
from support.sleeping_server import Running, running, very_small_checkpoint
from tests.support.wire.socket_talk import noise, wait_until

Event = dict[str, Any]
_EVENTS: TypeAdapter[Any] = TypeAdapter(ForkServerEvent)


class Heard:
    """What one client has of its session."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.audio, self.events = connection, b"", list[Event]()

    async def until(self, kind: str) -> Event:
        while True:
            data = await self.connection.recv_bytes()
            _EVENTS.validate_json(data, strict=True)
            event = checked(data)
            if event["type"] == "session.output_audio.delta":
                self.audio += base64.b64decode(event["delta"])
            self.events.append({k: v for k, v in event.items() if k != "event_id"})
            if event["type"] == kind:
                return event

    async def say(self, samples: Audio) -> None:
        """Send audio of 24 kHz in pieces of half a micro-turn, and wait for as much."""
        n = len(self.audio) + 2 * len(samples)
        for start in range(0, len(samples), PIECE):
            pcm = base64.b64encode(encode_pcm16(samples[start : start + PIECE])).decode()
            await self.connection.session.input_audio.append(audio=pcm)
        while len(self.audio) < n:
            await self.until("session.output_audio.delta")


def between_sounds(events: list[Event]) -> list[Event]:
    """Leave out what was read before and after the sound of both, as it came."""
    sounds = [k for k, e in enumerate(events) if e["type"] == "session.output_audio.delta"]
    return events[sounds[0] : sounds[-1] + 1]


def samples_of(seed: int, n_micro_turns: int) -> Audio:
    return noise(seed, 2 * n_micro_turns)[: 2 * PIECE * n_micro_turns]


@pytest.mark.clients
def test_the_fork_of_a_session_goes_on_as_the_session_does() -> None:
    config = ServeConfig(
        checkpoint="runs/m", max_waiting_micro_turns=100, max_behind_ms=0.0, admit_share=0
    )
    engine = LiveEngine(RowBatch(very_small_checkpoint(), 2), config)
    with running(engine, config) as server:
        asyncio.run(fork(server))
        wait_until(lambda: server.n_sessions == 0)


async def fork(server: Running) -> None:
    live = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.port}/v1").live
    async with live.connect() as connection:
        first = Heard(connection)
        await connection.session.start(session={"model": "m", "safety_identifier": "anna"})
        session = (await first.until("session.started"))["session"]
        await first.say(samples_of(0, 6))
        async with live.forks.connect(session_id=session["id"]) as forked:
            twin = Heard(forked)
            await forked.session.start(session={"store": False})
            resource = (await twin.until("session.started"))["session"]
            same = ("model", "audio", "safety_identifier", "delegation")
            assert {k: resource[k] for k in same} == {k: session[k] for k in same}
            assert resource["id"] != session["id"]
            n_events, n_bytes = len(first.events), len(first.audio)
            await first.say(samples_of(1, 8))
            del twin.events[:]
            await twin.say(samples_of(1, 8))
            assert twin.audio == first.audio[n_bytes:]
            assert any(twin.audio)
            assert between_sounds(twin.events) == between_sounds(first.events[n_events:])
            assert any(e["type"].endswith("transcript.delta") for e in twin.events)
            await forked.session.start(session={})
            error = (await twin.until("error"))["error"]
            assert error["code"] == "session_already_started"
            assert server.n_sessions == 2
            async with live.forks.connect(session_id=resource["id"]) as third:
                message = (await Heard(third).until("error"))["error"]["message"]
                assert message == "all 2 sessions are in use; try again later"
            await forked.session.close()
            closed = await twin.until("session.closed")
            assert closed["reason"] == "close_requested"
        await first.say(samples_of(2, 2))
        await connection.session.close()
        await first.until("session.closed")
