"""A small client of the socket: sends a recording and keeps the answer.

`python -m microturn.inference.serve.client IN.wav --url ws://127.0.0.1:8765/ws --out answer.wav`;
the token of a server that has one comes from the environment variable MICROTURN_TOKEN.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import gaierror
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from microturn.inference.audio import decode_pcm16, encode_pcm16, read_recording, write_wav
from microturn.inference.config import TOKEN_VARIABLE
from microturn.inference.serve.protocol import PROTOCOL_VERSION
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

DEFAULT_URL: Final = "ws://127.0.0.1:8765/ws"
_TIMEOUT_S: Final = 60.0
_MAX_AHEAD: Final = 2  # micro-turns sent ahead when not in real time


@dataclass(kw_only=True)
class ServerAnswer:
    """Everything the server sent."""

    hello: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    pieces: dict[int, Audio] = field(default_factory=dict)  # by the micro-turn that made it

    @property
    def audio(self) -> Audio:
        """The answer on the clock of the recording, silent where there was none.

        What micro-turn k made is played in k + 1.
        """
        n = self.hello["samples_per_micro_turn"]
        audio = np.zeros((max(self.pieces, default=-1) + 2) * n, np.float32)
        for micro_turn, piece in self.pieces.items():
            audio[(micro_turn + 1) * n : (micro_turn + 2) * n] = piece
        return audio

    @property
    def lost(self) -> list[int]:
        """The micro-turns whose answer was dropped, in order."""
        ranges = [r for e in self.events if e["type"] == "dropped" for r in e["ranges"]]
        return sorted({k for first, end in ranges for k in range(first, end)})

    def words(self, side: str) -> list[str]:
        return [e["text"] for e in self.events if e["type"] == "word" and e["side"] == side]


async def talk_to_server(
    url: str,
    samples: Audio,
    *,
    real_time: bool,
    piece_samples: int | None = None,
    token: str = "",
) -> ServerAnswer:
    """Send a recording in pieces and wait for the answer to its last whole micro-turn.

    Raises OSError with the server's own sentence when it refuses.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with _connected(url, headers) as socket:
        hello = await _greet(socket)
        answer = ServerAnswer(hello=hello)
        spm = int(hello["samples_per_micro_turn"])
        n = -(-len(samples) // spm)
        padded = np.zeros(n * spm, np.float32)
        padded[: len(samples)] = samples
        credit = asyncio.Semaphore(_MAX_AHEAD)
        sender = asyncio.create_task(
            _send(
                socket,
                padded,
                piece=piece_samples or spm,
                spm=spm,
                rate=int(hello["sample_rate"]),
                credit=None if real_time else credit,
            )
        )
        try:
            await asyncio.wait_for(_receive(socket, answer, n=n, credit=credit), _TIMEOUT_S + 2 * n)
            await socket.send(json.dumps({"type": "close"}))
            await _drain(socket, answer)
        finally:
            sender.cancel()
        return answer


@asynccontextmanager
async def _connected(url: str, headers: dict[str, str]) -> AsyncIterator[ClientConnection]:
    try:
        opened = await connect(url, additional_headers=headers, max_size=None, compression=None)
    except InvalidStatus as error:
        said = error.response.body.decode(errors="replace").strip()
        raise OSError(said or f"{url} answered {error.response.status_code}") from error
    except (ConnectionError, TimeoutError, gaierror) as error:
        raise OSError(f"{url}: no server answers there ({error})") from error
    async with opened:
        yield opened


async def _greet(socket: ClientConnection) -> dict[str, Any]:
    """Exchange hellos; raises OSError when the server refuses or speaks another version."""
    hello: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), _TIMEOUT_S))
    if hello["type"] != "hello":
        raise OSError(hello.get("message") or hello.get("reason") or "no hello from the server")
    if hello["protocol"] != PROTOCOL_VERSION:
        raise OSError(
            f"the server speaks protocol {hello['protocol']} and this client "
            f"{PROTOCOL_VERSION}; use client and server of one version"
        )
    await socket.send(json.dumps({"type": "hello", "protocol": PROTOCOL_VERSION}))
    return hello


async def _send(
    socket: ClientConnection,
    samples: Audio,
    *,
    piece: int,
    spm: int,
    rate: int,
    credit: asyncio.Semaphore | None,
) -> None:
    """Send pieces by the clock, or as fast as replies give credit."""
    started, completed = time.monotonic(), 0
    for start in range(0, len(samples), piece):
        end = min(start + piece, len(samples))
        if credit is None:
            await asyncio.sleep(max(0.0, started + end / rate - time.monotonic()))
        else:
            for _ in range(end // spm - completed):
                await credit.acquire()
            completed = end // spm
        await socket.send(encode_pcm16(samples[start:end]))


async def _receive(
    socket: ClientConnection, answer: ServerAnswer, *, n: int, credit: asyncio.Semaphore
) -> None:
    """Collect messages until all n micro-turns of sound are answered, dropped or came too late."""
    micro_turn, n_done, sound_comes = -1, 0, False
    while n_done < n or sound_comes:
        message = await socket.recv()
        if isinstance(message, bytes):
            answer.pieces[micro_turn], sound_comes = decode_pcm16(message), False
            continue
        event = json.loads(message)
        answer.events.append(event)
        if event["type"] == "micro_turn":
            micro_turn, before, sound_comes = event["micro_turn"], n_done, True
            n_done = micro_turn + 1 - event["missing_input"] + event["too_late_input"]
            for _ in range(n_done - before):
                credit.release()
        if event["type"] == "dropped" and event["direction"] == "output":
            sound_comes = sound_comes and micro_turn not in answer.lost
        if event["type"] == "closed":
            raise OSError(f"the server closed the conversation: {event['reason']}")


async def _drain(socket: ClientConnection, answer: ServerAnswer) -> None:
    """Collect the last messages until the server closes."""
    try:
        while True:
            message = await asyncio.wait_for(socket.recv(), _TIMEOUT_S)
            if isinstance(message, str):
                answer.events.append(json.loads(message))
    except ConnectionClosed:
        return


def main(argv: list[str] | None = None) -> int:
    """Talk to a running server with a recording."""
    parser = argparse.ArgumentParser(description="Talk to a running server with a recording.")
    parser.add_argument("input", help="the recording")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"socket, {DEFAULT_URL} if not given")
    parser.add_argument("--out", default="", help="write the answer to this WAV file")
    parser.add_argument("--fast", action="store_true", help="do not wait for the clock")
    args = parser.parse_args(argv)
    try:
        recording = read_recording(args.input, sample_rate=StreamLayout().sample_rate)
        answer = asyncio.run(
            talk_to_server(
                args.url,
                recording.samples,
                real_time=not args.fast,
                token=os.environ.get(TOKEN_VARIABLE, "").strip(),
            )
        )
    except (OSError, ValueError, WebSocketException) as error:
        sys.stderr.write(f"client: {error}\n")
        return 1
    for event in answer.events:
        if event["type"] != "micro_turn":
            sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    if args.out:
        write_wav(Path(args.out), answer.audio, sample_rate=answer.hello["sample_rate"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
