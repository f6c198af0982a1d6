"""Clients of `bench serve`: each sends sound by the wall clock and accounts for every chunk."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from microturn.inference.audio import encode_pcm16
from microturn.inference.serve.protocol import PROTOCOL_VERSION

_LEVEL: Final = 0.05  # noise at about the level of speech
_LAST_S: Final = 60.0  # the answer to the last chunk may take so long


@dataclass(kw_only=True)
class PacedTalk:
    """What became of each chunk of one client, by its number."""

    sent_s: list[float] = field(default_factory=list)
    round_trip_ms: dict[int, float] = field(default_factory=dict)  # of answered ones
    lag_ms: dict[int, float] = field(default_factory=dict)  # as the server says
    lost: set[int] = field(default_factory=set)  # as the server says
    over: str = ""  # why it ended early

    @property
    def n_unaccounted(self) -> int:
        """Chunks that were neither answered nor named as lost, or both."""
        answered = set(self.round_trip_ms)
        return len(set(range(len(self.sent_s))) ^ (answered ^ self.lost))


async def talk_paced(url: str, n: int, *, delay_s: float) -> PacedTalk:
    """Send n chunks of one micro-turn by the clock, the first one after `delay_s`."""
    talk = PacedTalk()
    async with connect(url, max_size=None, compression=None) as socket:
        hello = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "hello", "protocol": PROTOCOL_VERSION}))
        receiver = asyncio.create_task(_receive(socket, talk, n))
        period_s = hello["micro_turn_ms"] / 1000
        chunk = _LEVEL * np.random.default_rng(0).standard_normal(hello["samples_per_micro_turn"])
        pcm, started = encode_pcm16(chunk.astype(np.float32)), time.monotonic() + delay_s
        try:
            for k in range(n):
                await asyncio.sleep(max(0.0, started + (k + 1) * period_s - time.monotonic()))
                talk.sent_s.append(time.monotonic())
                await socket.send(pcm)
            await asyncio.wait_for(receiver, _LAST_S)
            await socket.send(json.dumps({"type": "close"}))
        except ConnectionClosed as error:
            talk.over = str(error)
        except TimeoutError:
            talk.over = f"no answer to the last chunk within {_LAST_S:g} s"
        finally:
            receiver.cancel()
    return talk


async def _receive(socket: ClientConnection, talk: PacedTalk, n: int) -> None:
    micro_turn = -1
    while len(talk.round_trip_ms) + len(talk.lost) < n:
        message = await socket.recv()
        if isinstance(message, bytes):
            now = time.monotonic()
            talk.round_trip_ms[micro_turn] = (now - talk.sent_s[micro_turn]) * 1000
            continue
        event: dict[str, Any] = json.loads(message)
        if event["type"] == "micro_turn":
            micro_turn = event["micro_turn"]
            talk.lag_ms[micro_turn] = event["lag_ms"]
        elif event["type"] == "dropped":
            for first, end in event["ranges"]:
                talk.lost.update(range(first, end))


async def talk_at_once(url: str, n_clients: int, n: int, *, period_s: float) -> list[PacedTalk]:
    """Several clients at once, whose chunks come evenly spread over a micro-turn."""
    talks = (talk_paced(url, n, delay_s=k * period_s / n_clients) for k in range(n_clients))
    return list(await asyncio.gather(*talks))
