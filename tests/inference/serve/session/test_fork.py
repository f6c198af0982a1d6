"""A second client begins as the twin of a running conversation, and both go on by themselves."""

import asyncio
import json

import numpy as np
import websockets

from microturn.inference.audio import encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import BecameTwin, MicroTurnReport, Problem, Report
from tests.support.sleeping_server import Running, very_small_checkpoint
from tests.support.wire.socket_talk import (
    Message,
    TalkingClient,
    begin,
    conversation_of,
    noise,
    refusal,
    server_with,
    wait_until,
)


async def talk_alone(server: Running, *seeds_and_lengths: tuple[int, int]) -> list[Message]:
    client = TalkingClient(server)
    async with client.connect() as socket:
        await client.greet(socket)
        for seed, n in seeds_and_lengths:
            await client.say(socket, noise(seed, n))
        await client.close(socket)
    return client.received


def after(messages: list[Message], micro_turn: int) -> list[object]:
    """Return what was told from a micro-turn on."""
    told = conversation_of(messages)
    place = [isinstance(e, dict) and e.get("micro_turn") == micro_turn for e in told]
    return told[place.index(True) :]


def test_twins_are_equal_as_long_as_they_hear_the_same() -> None:
    """One of them hears another voice in the end; a third conversation knows of neither."""

    async def fork(server: Running) -> tuple[TalkingClient, TalkingClient]:
        client, twin = TalkingClient(server), TalkingClient(server)
        async with client.connect() as socket, TalkingClient(server).connect() as other:
            await client.greet(socket)
            await client.say(socket, noise(0, 7))
            await client.send(socket, encode_pcm16(noise(2, 1)[:1_000]))  # a part, which both have
            await other.recv()  # a place between theirs
            while server.n_sessions < 2:
                await asyncio.sleep(0.02)
            async with twin.connect(fork=client.token) as socket_of_twin:
                await twin.greet(socket_of_twin)
                forked = await twin.until(socket_of_twin, "forked")
                assert forked == {"type": "forked", "micro_turn": 7, "time_s": 1.4}
                assert server.n_sessions == 3
                rest = noise(2, 8)[1_000:]
                for one, at in ((twin, socket_of_twin), (client, socket)):
                    await one.send(at, encode_pcm16(rest))
                    while one.n_answers < (8 if one is twin else 15):
                        await one.receive(at)
                await twin.say(socket_of_twin, noise(3, 2))
                await twin.close(socket_of_twin)
            await client.say(socket, noise(4, 2))
            await client.close(socket)
        return client, twin

    with server_with(3) as server:
        client, twin = asyncio.run(fork(server))
        wait_until(lambda: server.n_sessions == 0)
        alone = asyncio.run(talk_alone(server, (0, 7), (2, 8), (4, 2)))
        other_end = asyncio.run(talk_alone(server, (0, 7), (2, 8), (3, 2)))
    assert conversation_of(client.received) == conversation_of(alone)  # no harm was done to it
    assert after(twin.received[2:], 7) == after(other_end, 7)
    assert client.token != twin.token


def answers(reports: list[Report]) -> dict[int, bytes]:
    return {
        report.micro_turn: encode_pcm16(report.output.audio)
        for report in reports
        if isinstance(report, MicroTurnReport)
    }


def test_a_twin_hears_what_still_waits_and_what_was_dropped() -> None:
    """Four wait, of which one is answered before the twin begins; two get no answer."""
    config = ServeConfig(
        max_sessions=2, max_waiting_micro_turns=4, keep_waiting_micro_turns=2, admit_share=0
    )
    engine = LiveEngine(RowBatch(very_small_checkpoint(), 2), config)
    reports: list[Report] = []
    of_twin: list[Report] = []
    session = engine.join(reports.append)
    for piece in np.split(noise(0, 4), 4):
        session.push_audio(piece)
    twin = session.fork(of_twin.append)
    for piece in np.split(noise(1, 3), 3):  # not the twin's
        session.push_audio(piece)
    while engine.step():
        pass
    assert of_twin[0] == BecameTwin(micro_turn=4)
    assert sorted(answers(reports)) == [3, 4, 5, 6]
    assert sorted(answers(of_twin)) == [0, 1, 2, 3]
    alone = engine_alone(noise(0, 4))
    assert answers(of_twin) == alone
    twin.push_audio(noise(2, 1))
    assert engine.step()
    assert isinstance(last := of_twin[-1], MicroTurnReport)
    assert (last.micro_turn, last.dropped) == (4, 0)


def engine_alone(samples: np.ndarray) -> dict[int, bytes]:
    engine = LiveEngine(RowBatch(very_small_checkpoint(), 1), ServeConfig())
    reports: list[Report] = []
    session = engine.join(reports.append)
    for piece in np.split(samples, len(samples) // 3_200):
        session.push_audio(piece)
        engine.step()
    return answers(reports)


def test_a_twin_of_a_session_that_ends_first_ends_with_a_sentence() -> None:
    config = ServeConfig(max_sessions=2, admit_share=0)
    engine = LiveEngine(RowBatch(very_small_checkpoint(), 2), config)
    reports: list[Report] = []
    session = engine.join(lambda report: None)
    session.fork(reports.append)
    session.leave()
    engine.step()
    sentence = "the session ended before its twin had begun"
    assert reports == [Problem(message=sentence, fatal=True)]
    engine.step()
    assert engine.health()["sessions"] == 0


def test_a_fork_that_cannot_be_says_why() -> None:
    async def try_all(server: Running) -> None:
        over = "this session is over or was never here; begin another one"
        assert await refusal(server, "/ws?fork=nobody") == over
        client, socket = await begin(server)
        path = f"/v1/live/sessions/{client.token}/fork"
        async with websockets.connect(f"ws://127.0.0.1:{server.port}{path}") as other:
            error = json.loads(await other.recv())["error"]
        assert error["message"].startswith("this session speaks another protocol; use the path")
        async with websockets.connect(f"{server.socket_url}?fork={client.token}") as full:
            error = json.loads(await full.recv())
            assert error["message"] == "all 1 sessions are in use; try again later"
        await client.say(socket, np.zeros(3_200, np.float32))
        await client.close(socket)
        assert await refusal(server, f"/ws?fork={client.token}") == over

    with server_with(1) as server:
        asyncio.run(try_all(server))
