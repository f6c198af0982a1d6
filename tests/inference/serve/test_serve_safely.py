"""`microturn serve` for other machines: its token, its certificate, its log, and its refusals."""

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from microturn.configs.main import main
from microturn.inference.serve import client as console
from microturn.inference.serve.client import talk_to_server
from tests.support.serving import START_S, Served, start, stop

TOKEN = "open-sesame"
STOPPED = "microturn serve: stopped by SIGINT"  # all that a log should hold
MAKE_CERTIFICATE = (  # as docs/serving.md has it
    "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=microturn "
    "-addext subjectAltName=IP:127.0.0.1 -out cert.pem -keyout key.pem"
)


@pytest.fixture(scope="module")
def server(checkpoint_folder: Path) -> Iterator[Served]:
    served = start(checkpoint_folder, "max_sessions=1", environment={"MICROTURN_TOKEN": TOKEN})
    yield served
    if served.process.poll() is None:
        stop(served)


def test_the_token_of_the_environment_stands_on_no_command_line(server: Served) -> None:
    words = Path(f"/proc/{server.process.pid}/cmdline")
    if words.exists():
        assert TOKEN not in words.read_text()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        server.health()


def test_the_console_client_says_why_it_is_refused_and_takes_the_token_of_the_environment(
    server: Served,
    recording_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(recording_file), "--fast", "--url", server.socket_url]
    for token, sentence in (("", "needs its token: add ?token="), ("x", "is not the token of")):
        monkeypatch.setenv("MICROTURN_TOKEN", token)
        assert console.main(words) == 1
        said = capsys.readouterr().err
        assert sentence in said
        assert len(said.splitlines()) == 1
    monkeypatch.setenv("MICROTURN_TOKEN", TOKEN)
    assert console.main(words) == 0
    with connect(f"{server.socket_url}?token={TOKEN}") as first:  # the only place
        first.recv(timeout=START_S)
        assert console.main(words) == 1
    assert "all 1 sessions are in use; try again later" in capsys.readouterr().err


@pytest.mark.clients
@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here; apt-get install nginx")
def test_a_page_behind_the_documented_proxy_may_talk(server: Served, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    block = page.split("```nginx\n")[1].split("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    block = re.sub(r"\n *ssl_\w+ .*", "", block.replace("443 ssl", f"127.0.0.1:{port}"))
    block = block.replace("127.0.0.1:8765", server.url.removeprefix("http://").rstrip("/"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; events {{}} http {{ {block} }}", encoding="utf-8"
    )
    command = ["nginx", "-p", str(tmp_path), "-e", f"{tmp_path}/log", "-c", "nginx.conf"]
    with subprocess.Popen(command) as proxy:
        try:
            with connect_when_there(port, f"ws://talk.example/ws?token={TOKEN}") as client:
                assert json.loads(client.recv(timeout=START_S))["type"] == "hello"
        finally:
            proxy.terminate()


def connect_when_there(port: int, url: str) -> ClientConnection:
    """Connect through a proxy on a port of this machine as the page of the public name."""
    end = time.monotonic() + START_S
    while True:
        try:
            reached = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < end, "the proxy does not start"
            time.sleep(0.05)
        else:
            return connect(url, sock=reached, origin=Origin("https://talk.example"))


def test_nonsense_of_strangers_leaves_no_line_in_the_log(checkpoint_folder: Path) -> None:
    served = start(checkpoint_folder)
    port = int(served.url.rstrip("/").rsplit(":", 1)[1])
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
    )
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    wrong_text = b"\x81\x82\x00\x00\x00\x00\xff\xfe"  # a masked frame, not in UTF-8
    try:
        for data in (
            upgrade + key + b"Origin: http://[\r\n\r\n",
            upgrade.replace(b"127.0.0.1", b"[") + key + b"Origin: http://x\r\n\r\n",
            upgrade.replace(b"127.0.0.1", b"[") + key + b"\r\n",
            upgrade + key + b"Origin: https://elsewhere.example\r\n\r\n",
            upgrade + b"\r\n",
            upgrade.replace(b"/ws", b"/elsewhere") + key + b"\r\n",
            upgrade + key + b"\r\n" + wrong_text,
            b"GET /health HTTP/1.1\r\nHost: [\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01 not HTTP at all",
        ):
            with socket.create_connection(("127.0.0.1", port), START_S) as raw:
                raw.sendall(data)
                assert raw.recv(4_096).startswith(b"HTTP/1.1 ")
        with connect(served.socket_url) as client:
            client.recv(timeout=START_S)
            client.socket.sendall(wrong_text)
            time.sleep(0.1)
        assert served.health()["status"] == "ok"
    finally:
        _, said = stop(served)
    assert said.strip() == STOPPED


def test_a_refused_program_leaves_no_line_in_the_log(server: Served) -> None:
    with pytest.raises(OSError, match="needs its token"):
        asyncio.run(talk_to_server(server.socket_url, np.zeros(3_200, np.float32), real_time=False))
    _, said = stop(server)
    assert said.strip() == STOPPED


# --- TLS -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, as docs/serving.md makes them."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(MAKE_CERTIFICATE.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_gives_https_and_wss(
    certificate: tuple[Path, Path], checkpoint_folder: Path
) -> None:
    cert, key = certificate
    served = start(checkpoint_folder, f"ssl_certfile={cert}", f"ssl_keyfile={key}")
    try:
        assert served.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=cert)
        with urllib.request.urlopen(served.url + "healthz", context=trusting) as response:
            assert json.load(response) == {"status": "ok"}
        with connect(served.socket_url, ssl=trusting) as client:
            assert json.loads(client.recv(timeout=START_S))["type"] == "hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(served.socket_url)
    finally:
        code, said = stop(served)
    assert said.strip() == STOPPED
    assert code == 130


def test_a_key_of_another_certificate_is_refused_before_the_model_is_loaded(
    certificate: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, _ = certificate
    wrong = tmp_path / "key.pem"
    wrong.write_text("not a key")
    assert main(["serve", f"ssl_certfile={cert}", f"ssl_keyfile={wrong}", "checkpoint=none"]) == 2
    said = capsys.readouterr().err
    assert "no certificate and its key, in PEM and without a password" in said
