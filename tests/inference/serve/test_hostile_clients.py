"""Clients that flood, do not read, vanish or talk nonsense, on real sockets of the real server.

What they cost a neighbour in time is measured in test_neighbours.py.
"""

import gc
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from microturn.evaluation.bench.session import resident_bytes
from microturn.inference.audio import decode_pcm16, encode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.hostile.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FLOODS,
    PING,
    PONG,
    TEXT,
    frame,
    open_socket,
)
from tests.support.sleeping_server import (
    Running,
    SleepingBatch,
    running,
    very_small_checkpoint,
)

HELLO: Final = json.dumps({"type": "hello", "protocol": 2})
GONE_S: Final = 20.0  # a place lost within 60 s is what is promised
MIB: Final = 1 << 20


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    torch.set_num_threads(1)
    return very_small_checkpoint()


@pytest.fixture(scope="module")
def server(checkpoint: LoadedCheckpoint) -> Iterator[Running]:
    config = ServeConfig(
        max_sessions=4,
        max_waiting_micro_turns=50,
        max_behind_ms=0.0,
        connections_per_address=0,  # hundreds come from here; tests of its own are in `gate`
        resume_s=0.2,
    )
    engine = LiveEngine(RowBatch(checkpoint, 4), config)
    with running(engine, config) as server:
        yield server


def wait_until(true: Callable[[], bool], *, within_s: float = GONE_S) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_empty(server: Running) -> bool:
    return server.n_sessions == server.n_sockets == 0


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


def settled_descriptors() -> int:
    """Count them once whatever the start of the server had open is closed."""
    before = -1
    while before != (now := descriptors()):
        before = now
        gc.collect()
        time.sleep(0.5)
    return now


def conversation(server: Running) -> ClientConnection:
    """Open a conversation that answers pings and reads."""
    client = connect(server.socket_url, max_size=None, close_timeout=GONE_S, legacy=True)
    client.recv()
    client.send(HELLO)
    return client


def answer_to(client: ClientConnection, audio: Audio) -> bytes:
    """Send a micro-turn and return the sound that answers it."""
    client.send(encode_pcm16(audio))
    while not isinstance(message := client.recv(timeout=GONE_S), bytes):
        assert json.loads(message)["type"] not in ("error", "dropped", "closed")
    return message


def rest_of(client: ClientConnection) -> list[dict[str, object]]:
    """Read to the end; returns the JSON messages."""
    messages = []
    try:
        while True:
            message = client.recv(timeout=GONE_S)
            if isinstance(message, str):
                messages.append(json.loads(message))
    except ConnectionClosed:
        return messages


def noise(k: int) -> Audio:
    """A micro-turn that survives its way over the wire unchanged."""
    samples = 0.1 * np.random.default_rng(k).standard_normal(3_200)
    return decode_pcm16(encode_pcm16(samples.astype(np.float32)))


def send_without_end(raw: socket.socket, kind: str) -> None:
    """Flood until the connection is cut, which raises OSError."""
    end = time.monotonic() + GONE_S
    while time.monotonic() < end:
        raw.sendall(FLOODS[kind])


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_ends_with_its_conversation(server: Running, kind: str) -> None:
    """Whoever sends without end is out in no time, and leaves nothing behind."""
    with open_socket("127.0.0.1", server.port) as raw:
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe|aborted"):
            send_without_end(raw, kind)
        wait_until(lambda: is_empty(server))


@pytest.mark.parametrize(
    ("message", "n", "sentence"),
    [
        ('{"type":"cancel","delegation_id":"d9"}', 20, "no delegation 'd9' is under way"),
        ("{", 20, "a text message has to be a JSON object; audio goes in binary"),
        ("", 20, "a text message has to be a JSON object; audio goes in binary"),
        ('{"type":"text","text":"one"}', 60, "more than 10 texts, cancels and frames a second"),
        (bytes(MIB), 2, "audio came 30 s ahead of real time; this message was not heard to its"),
        (bytes(2), 600, "more than 200 messages a second; this one was not read: send audio in"),
    ],
)
def test_a_flood_is_told_why_it_ends(
    server: Running, message: str | bytes, n: int, sentence: str
) -> None:
    with conversation(server) as client:
        for _ in range(n):
            client.send(message)
        *others, last = rest_of(client)
    assert any(sentence in str(m.get("message")) for m in others)
    assert last == {"type": "closed", "reason": "too many messages were wrong"}
    wait_until(lambda: is_empty(server))


def test_who_is_shown_out_again_and_again_comes_back_no_faster(
    checkpoint: LoadedCheckpoint,
) -> None:
    """A flood that returns at once waits before each handshake; conversations go on."""
    config = ServeConfig()
    with running(LiveEngine(SleepingBatch(checkpoint, 4), config), config) as server:
        times = []
        with conversation(server) as neighbour:
            for _ in range(8):
                with open_socket("127.0.0.1", server.port) as raw:
                    times.append(time.monotonic())
                    with pytest.raises(OSError, match=r"reset|[Bb]roken pipe|aborted"):
                        send_without_end(raw, "wrong")
                answer_to(neighbour, noise(0))
    waited = np.diff(times)
    assert (waited[-2:] > 0.9).all()
    assert waited.sum() < GONE_S


@pytest.mark.parametrize("kind", ["cancel", "ping", "wrong"])
def test_a_client_that_reads_nothing_is_cut_off_and_costs_little(
    server: Running, kind: str
) -> None:
    """Its buffers are full, so that not even a goodbye can be sent; it stays connected."""
    before, files = resident_bytes(), settled_descriptors()
    raw = open_socket("127.0.0.1", server.port, receive_buffer=2_048)
    most = 0
    try:
        raw.settimeout(0.2)
        end = time.monotonic() + GONE_S
        while server.n_sockets and time.monotonic() < end:
            try:
                raw.send(FLOODS[kind])
            except TimeoutError:  # the server does not read any more either
                time.sleep(0.05)
            except OSError:
                break
            most = max(most, resident_bytes() - before)
        wait_until(lambda: is_empty(server))
    finally:
        raw.close()
    assert most < 20 * MIB
    wait_until(lambda: descriptors() == files)


def test_two_hundred_who_vanish_leave_nothing_behind(
    server: Running, checkpoint: LoadedCheckpoint
) -> None:
    """Some after their hello, some in the middle of a message, some with a reset."""

    def vanish(k: int) -> None:
        raw = open_socket("127.0.0.1", server.port)
        if k % 3 == 1:
            raw.sendall(frame(BINARY, bytes(6_400 * 2))[: 6_400 * (1 + k % 2)])
        if k % 3 == 2:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        raw.close()

    for k in range(20):
        vanish(k)
    wait_until(lambda: is_empty(server))
    before, files = resident_bytes(), settled_descriptors()
    for k in range(200):
        vanish(k)
    wait_until(lambda: is_empty(server))
    assert resident_bytes() - before < 5 * MIB
    wait_until(lambda: descriptors() == files)
    with conversation(server) as client:  # every row works as if it were new
        alone = RowBatch(checkpoint, 1)
        for k in range(3):
            expected = alone.step_rows({0: MicroTurnIn(audio=noise(k))})[0].audio
            assert answer_to(client, noise(k)) == encode_pcm16(expected)


# Pieces of anything, in any order: messages of the protocol before, after and in the middle of
# others, with values of the wrong kind, and frames that WebSocket itself forbids.
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(),
    st.text(max_size=20),
    st.just("\ud800"),  # half of a pair, which JSON can write and UTF-8 cannot
)
objects = st.dictionaries(
    st.sampled_from(["type", "protocol", "text", "delegation_id", "lane", "data", "instructions"]),
    st.one_of(
        values,
        st.lists(values, max_size=3),
        st.sampled_from(["hello", "text", "cancel", "frame", "close", "s1-d1", "video", "<bg>"]),
    ),
    max_size=5,
)
events = st.one_of(
    objects.map(lambda o: frame(TEXT, json.dumps(o).encode())),
    st.text(max_size=30).map(lambda t: frame(TEXT, t.encode())),
    st.binary(max_size=64).map(lambda b: frame(TEXT, b)),  # often no UTF-8
    st.integers(0, 9_000).map(lambda n: frame(BINARY, bytes(n))),
    st.binary(max_size=20).map(lambda b: frame(PING, b)),
    st.binary(max_size=20).map(lambda b: frame(PONG, b)),
    st.binary(max_size=9).map(lambda b: frame(CONTINUATION, b)),
    st.binary(max_size=9).map(lambda b: frame(TEXT, b, is_last=False)),
    st.sampled_from([b"", b"\x03\xe8", b"\x00", b"\x03\xe8\xff"]).map(lambda b: frame(CLOSE, b)),
    st.binary(min_size=1, max_size=30),  # no frame at all
)


def test_nonsense_of_two_thousand_events_changes_no_bit_of_a_neighbour(
    server: Running, checkpoint: LoadedCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    alone, files = RowBatch(checkpoint, 1), settled_descriptors()
    told = 0
    memory: list[int] = []
    with conversation(server) as neighbour:

        @settings(
            max_examples=100, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.lists(events, min_size=20, max_size=20), st.booleans(), st.booleans())
        def talk_nonsense(said: list[bytes], greets: bool, at_once: bool) -> None:
            nonlocal told
            with open_socket("127.0.0.1", server.port, greets=greets) as raw:
                try:
                    for data in [b"".join(said)] if at_once else said:
                        raw.sendall(data)
                except OSError:
                    pass  # it was shown out before it was done
            k, told = told, told + 1
            expected = alone.step_rows({0: MicroTurnIn(audio=noise(k))})[0].audio
            assert answer_to(neighbour, noise(k)) == encode_pcm16(expected)
            memory.append(resident_bytes())

        talk_nonsense()
        assert told >= 100
        wait_until(lambda: server.n_sessions == server.n_sockets == 1)
    assert memory[-1] - memory[len(memory) // 5] < 5 * MIB
    assert not caplog.records  # nothing that a stranger says is a fault of the server
    wait_until(lambda: is_empty(server) and descriptors() == files)


def test_when_the_server_stops_each_client_is_told(checkpoint: LoadedCheckpoint) -> None:
    """In the middle of words, before a hello, and one that does not read."""
    config = ServeConfig(max_sessions=4)
    engine = LiveEngine(SleepingBatch(checkpoint, 4), config)
    with running(engine, config) as server:
        clients = [conversation(server) for _ in range(2)]
        clients[0].send(bytes(6_400 * 3))
        silent = connect(server.socket_url, close_timeout=GONE_S, max_size=None, legacy=True)
        deaf = open_socket("127.0.0.1", server.port, receive_buffer=2_048)
        wait_until(lambda: server.n_sessions == 4)
        started = time.monotonic()
    assert time.monotonic() - started < GONE_S
    deaf.close()
    for client in (*clients, silent):
        assert rest_of(client)[-1] == {"type": "closed", "reason": "the server stops"}
        with pytest.raises(ConnectionClosedError, match="1012"):
            client.recv()
