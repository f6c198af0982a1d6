"""`microturn serve` as a process of its own, and a real client over a real socket."""

import asyncio
import json
import os
import re
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from microturn.configs.main import main
from microturn.inference.audio import encode_pcm16
from microturn.inference.serve import client as console
from microturn.inference.serve.client import talk_to_server
from microturn.inference.serve.connection import MAX_MESSAGE_BYTES
from microturn.inference.serve.protocol import PROTOCOL_VERSION
from microturn.model.streams.pcm import Audio
from tests.support.serving import START_S, Served, start, stop

HELLO = json.dumps({"type": "hello", "protocol": PROTOCOL_VERSION})


@pytest.fixture(scope="module")
def server(checkpoint_folder: Path) -> Iterator[Served]:
    waits = ("max_waiting_micro_turns=50", "max_behind_ms=0", "resume_s=1")
    served = start(checkpoint_folder, "max_sessions=2", *waits)
    yield served
    served.process.kill()
    served.process.wait()
    assert served.process.stderr is not None
    served.process.stderr.close()


def test_a_recording_is_answered_over_the_socket(server: Served, recording: Audio) -> None:
    answer = asyncio.run(talk_to_server(server.socket_url, recording, real_time=False))
    spm = answer.hello["samples_per_micro_turn"]
    n = -(-len(recording) // spm)
    assert len(answer.audio) == (n + 1) * spm
    assert not answer.audio[:spm].any()
    turns = [event for event in answer.events if event["type"] == "micro_turn"]
    assert [turn["micro_turn"] for turn in turns] == list(range(n))
    assert answer.events[-1] == {"type": "closed", "reason": "goodbye"}


def test_in_real_time_answers_meet_their_deadline(server: Served, recording: Audio) -> None:
    answer = asyncio.run(
        talk_to_server(server.socket_url, recording[:16_000], real_time=True, piece_samples=517)
    )
    turns = [event for event in answer.events if event["type"] == "micro_turn"]
    assert len(turns) == 5
    assert turns[-1]["dropped_input"] == 0
    assert np.median([turn["lag_ms"] for turn in turns]) < 200


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="on a GPU Griffin-Lim hears what the number of rows rounds"
)
def test_two_sessions_get_the_answers_of_each_alone(server: Served, recording: Audio) -> None:
    async def both() -> tuple[Audio, Audio]:
        talks = [
            talk_to_server(server.socket_url, samples, real_time=False)
            for samples in (recording, recording[::-1])
        ]
        first, second = await asyncio.gather(*talks)
        return first.audio, second.audio

    together = asyncio.run(both())
    for samples, found in zip((recording, recording[::-1]), together, strict=True):
        alone = asyncio.run(talk_to_server(server.socket_url, samples, real_time=False)).audio
        # Rounding differs with the number of rows; the sound does not.
        assert np.abs(alone - found).max() < 1e-3


def test_the_console_client_writes_the_answer(
    server: Served,
    recording_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "answer.wav"
    words = [str(recording_file), "--fast", "--url", server.socket_url, "--out", str(out)]
    assert console.main(words) == 0
    assert '"type": "closed"' in capsys.readouterr().out
    assert soundfile.info(out).frames > 0
    assert console.main([str(recording_file), "--url", "ws://127.0.0.1:9/ws"]) == 1
    assert "ws://127.0.0.1:9/ws: no server answers there" in capsys.readouterr().err
    assert console.main([str(tmp_path / "none.wav"), "--url", server.socket_url]) == 1
    assert "no such file" in capsys.readouterr().err


def test_the_client_refuses_a_server_of_another_version(recording: Audio) -> None:
    def greet(socket: ServerConnection) -> None:
        socket.send(json.dumps({"type": "hello", "protocol": 1}))

    with serve(greet, "127.0.0.1", 0) as old:
        threading.Thread(target=old.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{old.socket.getsockname()[1]}"
        with pytest.raises(OSError, match="the server speaks protocol 1 and this client 2; use"):
            asyncio.run(talk_to_server(url, recording, real_time=False))


def test_garbage_of_every_kind_leaves_the_server_standing(server: Served) -> None:
    port = int(server.url.rstrip("/").rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as raw:  # not even HTTP
        raw.sendall(os.urandom(4_096))
    with socket.create_connection(("127.0.0.1", port)) as raw:  # a handshake, then noise
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b"101" in raw.recv(4_096)
        raw.sendall(os.urandom(4_096))
    with connect(server.socket_url) as client:  # gone in the middle of a word
        client.recv()
        client.send(HELLO)
        client.send(encode_pcm16(np.zeros(1_000, np.float32)))
        client.socket.close()
    wait_until_empty(server)
    with connect(server.socket_url, max_size=None) as client:  # too much at once
        client.recv()
        client.send(HELLO)
        client.send(bytes(MAX_MESSAGE_BYTES + 2))
        assert code_of_the_end(client) == 1009
    wait_until_empty(server)
    with connect(server.socket_url) as client:
        client.recv()
        client.send("what?")
        assert json.loads(client.recv())["type"] == "error"
    assert server.process.poll() is None


def code_of_the_end(client: ClientConnection) -> int | None:
    """Read until the server closes; returns its close code."""
    try:
        while True:
            client.recv(timeout=START_S)
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else None


def wait_until_empty(server: Served) -> None:
    for _ in range(100):  # more often than 30 times a second an address may not ask
        if server.health()["sessions"] == 0:
            return
        threading.Event().wait(0.1)
    pytest.fail("a session was never closed")


def test_a_used_port_is_reported_in_one_sentence(
    server: Served, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server.url.rstrip("/").rsplit(":", 1)[1]
    assert main(["serve", f"port={port}", f"checkpoint={checkpoint_folder}"]) == 1
    error = capsys.readouterr().err.strip()
    assert f"cannot listen on 127.0.0.1 port {port} (address already in use)" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_server_cleanly_during_a_session(
    number: int, checkpoint_folder: Path
) -> None:
    served = start(checkpoint_folder)
    with connect(served.socket_url) as client:
        client.recv()
        code, said = stop(served, number)
        assert json.loads(client.recv()) == {"type": "closed", "reason": "the server stops"}
        assert code_of_the_end(client) == 1012
    assert code == 128 + number
    assert f"microturn serve: stopped by {signal.Signals(number).name}\n" in said
    assert "Traceback" not in said
    assert served.process.stderr is not None
    served.process.stderr.close()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["host=0.0.0.0"], 2, "set the environment variable MICROTURN_TOKEN or give token_file="),
        (["host=192.168.1.2"], 2, "host=192.168.1.2 can be reached from other machines"),
        (["token=a", "token_file=b"], 2, "token and token_file are both given"),
        (["token_file=none.txt"], 1, "none.txt: No such file or directory"),
        (["ssl_keyfile=key.pem"], 2, "ssl_keyfile needs ssl_certfile"),
        (["ssl_certfile=none.pem"], 2, "ssl_certfile=none.pem ssl_keyfile=: no certificate"),
        (["port=70000"], 2, "port=70000 is above 65535"),
        (["max_sessions=0"], 2, "max_sessions=0 must be at least 1"),
        (["host=no.such.host.invalid", "token=x"], 1, "cannot listen on no.such.host.invalid"),
        (["port=0", "checkpoint=none"], 1, "none: no checkpoint here"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_sentence(
    words: list[str],
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MICROTURN_TOKEN", raising=False)
    assert main(["serve", *words]) == code
    assert sentence in capsys.readouterr().err


def test_admission_follows_the_measurement_at_the_start(
    checkpoint_folder: Path,
) -> None:
    """No session fits into a thousandth of a micro-turn, but the first one is let in."""
    served = start(checkpoint_folder, "admit_share=0.001", "calibrate=2", "max_sessions=2")
    try:
        with connect(served.socket_url) as first, connect(served.socket_url) as second:
            assert json.loads(first.recv(timeout=START_S))["type"] == "hello"
            warning = json.loads(first.recv(timeout=START_S))
            assert warning["type"] == "warning"
            pattern = r"answers may come late: one session would need \d+ ms \(p90\)"
            assert re.match(pattern, warning["message"])
            refusal = json.loads(second.recv(timeout=START_S))
            assert re.match(r"2 sessions at once would need \d+ ms", refusal["message"])
            assert json.loads(second.recv(timeout=START_S))["type"] == "closed"
            assert served.health()["sessions"] == 1
        with urllib.request.urlopen(served.url + "metrics", timeout=START_S) as response:
            assert "microturn_sessions_refused_total 1" in response.read().decode()
    finally:
        stop(served)
