"""The page in a real browser: a recording as its microphone, the sound of the answer played."""

import itertools
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from websockets.sync.client import ClientConnection, connect

from microturn.inference.agent.process import start_agent
from microturn.inference.audio import write_wav
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.server import create_app, listen, url_of
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_S = 60.0
_PIECE = 320

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium"),
]


class Tab:
    """A page of the browser over its DevTools socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.problems: list[str] = []
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_S))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        """Anything that the browser complains about."""
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(message["params"])[:500])
        entry = message["params"].get("entry", {})
        if message["method"] == "Log.entryAdded" and entry.get("level") == "error":
            self.problems.append(entry["text"])

    def value(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, userGesture=True)
        return result["result"].get("value")

    def text(self, element: str) -> str:
        return str(self.value(f"document.getElementById('{element}').textContent"))

    def wait(self, what: str, true: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < end, f"{what}: never; {self.problems} {self.text('problem')}"
            time.sleep(0.05)


class ListeningBatch(RowBatch):
    """Keeps what it hears."""

    def __init__(self, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(checkpoint, 1)
        self.heard: list[Audio] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        self.heard.append(inputs[0].audio.copy())
        return super().step_rows(inputs)


@pytest.fixture
def batch(checkpoint: LoadedCheckpoint) -> ListeningBatch:
    return ListeningBatch(checkpoint)


@pytest.fixture
def engine(batch: ListeningBatch) -> LiveEngine:
    return LiveEngine(
        batch, ServeConfig(max_waiting_micro_turns=50), agent=start_agent(AgentConfig())
    )


@pytest.fixture
def page_url(engine: LiveEngine) -> Iterator[str]:
    yield from serve_page(engine, ServeConfig())


@pytest.fixture
def guarded_url(engine: LiveEngine) -> Iterator[str]:
    yield from serve_page(engine, ServeConfig(token="open sesame"))


def serve_page(engine: LiveEngine, config: ServeConfig) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    app = create_app(engine, config)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", ws="websockets-sansio", lifespan="on")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield url_of(listener, "127.0.0.1")
    server.should_exit = True
    thread.join(WAIT_S)
    listener.close()


@pytest.fixture
def browser(recording: Audio, tmp_path: Path) -> Iterator[str]:
    """A headless browser whose microphone plays the recording again and again."""
    microphone = tmp_path / "microphone.wav"
    write_wav(microphone, np.tile(recording, 3), sample_rate=16_000)
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
            f"--use-file-for-fake-audio-capture={microphone}",
            "--autoplay-policy=no-user-gesture-required",
            "about:blank",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    found = None
    for line in process.stderr:
        found = re.search(r"DevTools listening on ws://([\d.]+:\d+)/", line)
        if found:
            break
    assert found, "the browser did not start"
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    yield found[1]
    process.terminate()
    process.wait(WAIT_S)
    drain.join(WAIT_S)
    process.stderr.close()


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    with urllib.request.urlopen(f"http://{browser}/json/list", timeout=WAIT_S) as response:
        pages = [target for target in json.load(response) if target["type"] == "page"]
    with connect(pages[0]["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
        yield Tab(socket)


def test_sound_goes_both_ways_and_the_page_shows_it(
    tab: Tab, page_url: str, engine: LiveEngine, batch: ListeningBatch, recording: Audio
) -> None:
    tab.call("Page.navigate", url=page_url)
    tab.wait("the page", lambda: tab.value("document.readyState") == "complete")
    tab.wait("its script", lambda: tab.value("document.querySelector('#lanes').width > 300"))
    assert tab.text("status") == "not connected"
    tab.value("document.getElementById('talk').click()")
    tab.wait("the microphone", lambda: tab.text("status") == "listening")
    tab.wait("sound to the server", lambda: int(tab.text("sent")) >= 10)
    tab.wait("sound from the server", lambda: int(tab.text("received")) >= 10)
    tab.wait("sound in the player", lambda: re.fullmatch(r"\d+ ms", tab.text("buffer")) is not None)
    assert re.fullmatch(r"\d+ ms", tab.text("lag"))
    assert tab.text("dropped") == "0"
    assert tab.value("document.getElementById('problem').hidden") is True
    assert engine.health()["sessions"] == 1

    tab.value("document.getElementById('talk').click()")
    tab.wait("the end", lambda: tab.text("status") == "stopped")
    end = time.monotonic() + WAIT_S
    while engine.health()["sessions"] and time.monotonic() < end:
        time.sleep(0.05)
    assert engine.health()["sessions"] == 0
    assert tab.problems == []
    # What the microphone played is what the engine heard, at the right rate and level.
    heard = np.concatenate(batch.heard)
    likeness = most_alike(loudness(heard), loudness(np.tile(recording, 3)))
    assert likeness > 0.8, f"envelopes are {likeness:.2f} alike"
    assert np.abs(heard).max() > 0.05


def test_the_page_says_why_it_is_refused_and_hides_its_token(tab: Tab, guarded_url: str) -> None:
    tab.call("Page.navigate", url=f"{guarded_url}?token=wrong")
    tab.wait("the page", lambda: tab.value("document.querySelector('#lanes')?.width > 300"))
    assert tab.value("location.search") == ""
    sentence = "this is not the token of the server; ask whoever started it"
    tab.wait("the refusal", lambda: tab.text("problem") == sentence)  # as soon as it is opened
    tab.value("document.getElementById('talk').click()")
    tab.wait("the refusal", lambda: tab.text("status") == "not connected")
    assert tab.text("problem") == sentence
    assert all("401" in problem for problem in tab.problems)
    tab.problems.clear()
    tab.call("Page.navigate", url=f"{guarded_url}?token=open%20sesame")
    tab.wait("the page", lambda: tab.value("document.querySelector('#lanes')?.width > 300"))
    tab.value("document.getElementById('talk').click()")
    tab.wait("the microphone", lambda: tab.text("status") == "listening")
    assert tab.problems == []


def loudness(samples: Audio) -> Audio:
    """Envelope in pieces of 20 ms, without its mean."""
    n = len(samples) // _PIECE
    envelope = np.sqrt((samples[: n * _PIECE].reshape(n, _PIECE) ** 2).mean(axis=1))
    return (envelope - envelope.mean()).astype(np.float32)


def most_alike(short: Audio, long: Audio) -> float:
    """Best correlation of one with a stretch of the other, repeated."""
    long = np.tile(long, 2 + len(short) // len(long))
    windows = np.lib.stride_tricks.sliding_window_view(long, len(short))
    return max(float(np.corrcoef(short, window)[0, 1]) for window in windows)
