"""The cable of a client of `/ws` is pulled and put back: not a bit of the conversation is lost."""

import asyncio
import json
from typing import Final

import numpy as np
import pytest
import websockets

from microturn.inference.audio import encode_pcm16
from microturn.inference.serve import connection
from microturn.model.streams.pcm import Audio
from tests.support.hostile.client import CLOSE, frame, open_socket
from tests.support.sleeping_server import Running
from tests.support.wire.socket_talk import (
    WAIT_S,
    Message,
    TalkingClient,
    begin,
    conversation_of,
    is_type,
    noise,
    refusal,
    server_with,
    wait_until,
)

PIECE: Final = 1_500  # samples: two of them are no micro-turn


async def talk(server: Running, samples: Audio, breaks: list[int]) -> list[Message]:
    """Say `samples`; the connection breaks after each of these pieces, with answers under way."""
    client, n_said = TalkingClient(server), 0
    pieces = [encode_pcm16(samples[k : k + PIECE]) for k in range(0, len(samples), PIECE)]
    for end in [*breaks, len(pieces)]:
        query = {"resume": client.token, "received": len(client.received)} if client.token else {}
        async with client.connect(**query) as socket:
            if client.token:
                assert (await client.resume(socket))["lost"] == 0
            else:
                await client.greet(socket)
            for piece in pieces[n_said:end]:
                await client.send(socket, piece)
            n_said = end
            n_answers = len(samples) // 3_200 if end == len(pieces) else end // 4
            while client.n_answers < n_answers:
                await client.receive(socket)
            if end < len(pieces):
                socket.transport.abort()
                continue
            await client.close(socket)
    return client.received


def test_a_resumed_conversation_has_the_bits_of_an_unbroken_one() -> None:
    samples = noise(0, 40)
    with server_with() as server:
        whole = asyncio.run(talk(server, samples, []))
        wait_until(lambda: server.n_sessions == 0)
        broken = asyncio.run(talk(server, samples, [8, 9, 30, 51]))
        wait_until(lambda: server.n_sessions == 0)
    assert conversation_of(broken) == conversation_of(whole)
    assert sum(isinstance(message, bytes) for message in broken) == 40
    assert any(np.frombuffer(m, "<i2").any() for m in broken if isinstance(m, bytes))


def test_a_client_may_return_before_the_server_has_missed_it() -> None:
    """As it is with a cable: nobody says goodbye, and a ping is answered much later."""

    async def replace(server: Running) -> None:
        client, old = await begin(server)
        async with client.connect(resume=client.token, received=len(client.received)) as new:
            assert await client.resume(new) == {"type": "resumed", "received": 2, "lost": 0}
            with pytest.raises(websockets.ConnectionClosedError):
                await asyncio.wait_for(old.recv(), WAIT_S)
            await client.send(new, bytes(6_400))
            while client.n_answers < 2:
                await client.receive(new)
            assert server.n_sessions == server.n_sockets == 1

    with server_with() as server:
        asyncio.run(replace(server))


def test_a_return_that_cannot_be_says_why() -> None:
    async def try_all(server: Running) -> None:
        client, socket = await begin(server)
        n = len(client.received)
        socket.transport.abort()
        over = "this session is over or was never here; begin another one"
        assert await refusal(server, "/ws?resume=nobody&received=0") == over
        path = f"/ws?resume={client.token}"
        say = "say with received=N how many messages of the session have arrived"
        assert await refusal(server, path) == say
        too_many = f"received={n + 1} is no number of messages: {n} were sent"
        assert await refusal(server, f"{path}&received={n + 1}") == too_many
        async with websockets.connect(
            f"ws://127.0.0.1:{server.port}/v1/live/sessions?resume={client.token}&received={n}"
        ) as other:
            error = json.loads(await other.recv())["error"]
        assert error["message"].startswith("this session speaks another protocol; use the path")
        async with client.connect(resume=client.token, received=n) as socket:
            await client.resume(socket)  # nothing of all that has harmed it
            await socket.send('{"type": "close"}')
            assert is_type(await client.receive(socket), "closed")
        assert await refusal(server, f"{path}&received={n}") == over

    with server_with() as server:
        asyncio.run(try_all(server))


def test_who_never_said_hello_keeps_no_place() -> None:
    with server_with() as server:
        open_socket("127.0.0.1", server.port, greets=False).close()
        wait_until(lambda: server.n_sessions == 0)


def test_nothing_is_kept_where_nobody_may_return() -> None:
    async def vanish(server: Running) -> None:
        client, socket = await begin(server)
        assert json.loads(client.received[0])["resume_s"] == 0
        socket.transport.abort()

    with server_with(resume_s=0.0) as server:
        asyncio.run(vanish(server))
        wait_until(lambda: server.n_sessions == 0)


async def is_let_in(server: Running) -> bool:
    async with websockets.connect(server.socket_url) as socket:
        return is_type(await socket.recv(), "hello")


def test_a_full_server_gives_the_place_of_who_is_away_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def come_and_go(server: Running) -> None:
        clients = []
        for _ in range(2):
            client, socket = await begin(server)
            socket.transport.abort()
            clients.append(client)
        await asyncio.sleep(0.1)
        assert not await is_let_in(server)  # for some seconds the place is nobody else's
        monkeypatch.setattr(connection, "HELD_S", 0.0)
        first, second = clients
        for client in clients:  # both come back and go again, the first one first
            resumed = await client.connect(resume=client.token, received=len(client.received))
            await client.resume(resumed)
            resumed.transport.abort()
            await asyncio.sleep(0.1)
        async with websockets.connect(server.socket_url) as newcomer:
            assert is_type(await newcomer.recv(), "hello")
            n = len(first.received)
            over = "this session is over or was never here; begin another one"
            assert await refusal(server, f"/ws?resume={first.token}&received={n}") == over
            async with second.connect(resume=second.token, received=len(second.received)) as back:
                await second.resume(back)
                assert not await is_let_in(server)  # nobody is away

    with server_with(2) as server:
        asyncio.run(come_and_go(server))


def test_who_closed_without_a_code_gives_its_place_to_the_first_who_wants_it() -> None:
    with server_with() as server:
        with open_socket("127.0.0.1", server.port) as raw:
            raw.sendall(frame(CLOSE, b""))
            wait_until(lambda: server.n_sockets == 0)
        assert server.n_sessions == 1
        assert asyncio.run(is_let_in(server))
