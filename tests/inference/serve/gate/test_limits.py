"""The limits of each address on real sockets of the real server."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import torch
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from microturn.inference.config import ServeConfig
from microturn.inference.serve import uvicorn_server
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.gate.gate import REQUESTS_AT_ONCE
from microturn.model.checkpoint import LoadedCheckpoint
from tests.support.sleeping_server import Running, SleepingBatch, running, very_small_checkpoint

WAIT_S = 30.0
HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    torch.set_num_threads(1)
    return very_small_checkpoint()


@pytest.fixture
def nothing_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that were spent do not grow back, however slow this machine is."""
    monkeypatch.setattr("microturn.inference.serve.gate.gate.REQUESTS_PER_S", 0.0)


@contextmanager
def serving(checkpoint: LoadedCheckpoint, config: ServeConfig) -> Iterator[Running]:
    with running(LiveEngine(SleepingBatch(checkpoint, 4), config), config) as server:
        yield server


def get(
    server: Running, path: str = "/healthz", *, forwarded: str = ""
) -> tuple[int, str, http.client.HTTPResponse]:
    """Ask once over a connection of its own."""
    connection = http.client.HTTPConnection(HERE, server.port, timeout=WAIT_S)
    try:
        connection.request("GET", path, headers={"X-Forwarded-For": forwarded} if forwarded else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer
    finally:
        connection.close()


def test_one_connection_too_many_reads_why_and_makes_room_for_nobody_else(
    checkpoint: LoadedCheckpoint,
) -> None:
    with (
        serving(checkpoint, ServeConfig(connections_per_address=3)) as server,
        ExitStack() as open_,
    ):
        for _ in range(3):
            open_.enter_context(socket.create_connection((HERE, server.port)))
        status, text, _ = get(server)
        assert (status, text) == (
            429,
            "127.0.0.1 has 3 connections to this server; close some of them",
        )
        with pytest.raises(InvalidStatus, match="429"):
            connect(server.socket_url)
        open_.close()
        end = time.monotonic() + WAIT_S
        while get(server)[0] != 200:
            assert time.monotonic() < end


@pytest.mark.usefixtures("nothing_is_forgiven")
def test_who_asks_too_often_reads_why_and_has_to_connect_again(
    checkpoint: LoadedCheckpoint,
) -> None:
    """Over one connection that stays open; below /v1 in the form that clients there read."""
    with serving(checkpoint, ServeConfig()) as server:
        connection = http.client.HTTPConnection(HERE, server.port, timeout=WAIT_S)
        for n_answered in range(int(REQUESTS_AT_ONCE) + 1):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == (200 if n_answered < REQUESTS_AT_ONCE else 429)
        assert text == "too many requests from 127.0.0.1; wait a second"
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        assert answer.headers["x-content-type-options"] == "nosniff"
        _, text, _ = get(server, "/v1/models")
        assert json.loads(text)["error"]["code"] == "rate_limit_exceeded"
        assert handshake(server) == 429


def handshake(server: Running) -> int:
    """Return the status that answers the handshake of a socket."""
    try:
        with connect(server.socket_url, close_timeout=WAIT_S) as client:
            return client.response.status_code if client.response else 0
    except InvalidStatus as error:
        return error.response.status_code


def test_behind_the_proxy_each_client_has_its_own_limits(checkpoint: LoadedCheckpoint) -> None:
    config = ServeConfig(proxy=HERE, connections_per_address=2, sessions_per_address=1)
    with serving(checkpoint, config) as server, ExitStack() as open_:
        for _ in range(4):
            open_.enter_context(socket.create_connection((HERE, server.port)))

        def talk(host: str) -> dict[str, str]:
            headers = {"X-Forwarded-For": f"198.51.100.9, {host}"}  # the first is what it says
            client = open_.enter_context(
                connect(server.socket_url, additional_headers=headers, close_timeout=WAIT_S)
            )
            message: dict[str, str] = json.loads(client.recv(timeout=WAIT_S))
            if message["type"] == "error":
                assert "closed" in str(client.recv(timeout=WAIT_S))
                with pytest.raises(ConnectionClosedError, match="1013"):
                    client.recv(timeout=WAIT_S)
            return message

        assert talk("203.0.113.5")["type"] == talk("203.0.113.6")["type"] == "hello"
        assert talk("203.0.113.5") == {
            "type": "error",
            "message": "203.0.113.5 has 1 conversations with this server; end one of them",
        }


@pytest.mark.usefixtures("nothing_is_forgiven")
def test_without_a_proxy_nobody_says_whom_it_speaks_for(checkpoint: LoadedCheckpoint) -> None:
    with serving(checkpoint, ServeConfig(connections_per_address=1_000)) as server:
        n = int(REQUESTS_AT_ONCE)
        answers = [get(server, forwarded=f"10.0.0.{k % 250}") for k in range(n + 1)]
    assert [status for status, _, _ in answers] == [200] * n + [429]


def is_cut(raw: socket.socket) -> bool:
    raw.settimeout(WAIT_S)
    try:
        while raw.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True  # else it has timed out


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n.",
    ],
    ids=["nothing", "half a head", "half a second one", "a body without an end"],
)
def test_a_connection_without_a_request_is_cut(
    checkpoint: LoadedCheckpoint, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_server, "_REQUEST_S", 0.3)
    with serving(checkpoint, ServeConfig()) as server:
        with socket.create_connection((HERE, server.port)) as raw:
            raw.sendall(said)
            assert is_cut(raw)
        assert get(server)[0] == 200


def test_a_flood_of_a_body_is_cut(checkpoint: LoadedCheckpoint) -> None:
    with serving(checkpoint, ServeConfig()) as server:
        with socket.create_connection((HERE, server.port), timeout=WAIT_S) as raw:
            raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
            with pytest.raises(ConnectionError):
                raw.sendall(bytes(200 << 20))
        assert get(server)[0] == 200


def test_a_full_server_makes_room_by_cutting_who_only_stays(
    checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microturn.inference.serve.gate.gate.MAX_CONNECTIONS", 4)
    with serving(checkpoint, ServeConfig()) as server, connect(server.socket_url) as talking:
        talking.recv(timeout=WAIT_S)
        idle = [socket.create_connection((HERE, server.port)) for _ in range(3)]
        assert get(server)[0] == 200
        assert is_cut(idle[0])
        talking.ping().wait(WAIT_S)
        for raw in idle:
            raw.close()
