"""The page in a real browser: a server in this process, Chromium, and its tabs over DevTools."""

import itertools
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.sync.client import ClientConnection, connect

from microturn.inference.config import ServeConfig
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.server import create_app, listen, url_of

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_S = 120.0  # a busy machine
NEEDS_BROWSER = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here; apt-get install chromium"
)


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
        """Evaluate an expression, awaiting a promise; what it throws is raised here."""
        result = self.call(
            "Runtime.evaluate",
            expression=expression,
            userGesture=True,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Open an address and wait for its script."""
        self.call("Page.navigate", url=url)
        ready = "document.querySelector('#lanes')?.width > 0 && document.readyState == 'complete'"
        self.wait("the page", lambda: self.value(ready) is True)

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def is_hidden(self, element: str) -> bool:
        return bool(self.value(f"document.getElementById('{element}').hidden"))

    def text(self, element: str) -> str:
        return str(self.value(f"document.getElementById('{element}').textContent"))

    def wait(self, what: str, true: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < end, f"{what}: never; {self.problems} {self.text('problem')}"
            time.sleep(0.05)


@contextmanager
def browser_hearing(
    microphone: Path, profile: Path, *, seeing: Path | None = None
) -> Iterator[str]:
    """Run a headless browser whose microphone plays a recording again and again.

    So does its camera with the film `seeing` (YUV4MPEG2), if there is one. Yields host and port of
    its DevTools.
    """
    films = [f"--use-file-for-fake-video-capture={seeing}"] if seeing else []
    fake = f"--use-file-for-fake-audio-capture={microphone}"
    with browser_with(profile, "--use-fake-device-for-media-stream", fake, *films) as browser:
        yield browser


@contextmanager
def browser_with(
    profile: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a headless browser; yields host and port of its DevTools."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}"),
            "--use-fake-ui-for-media-stream",
            "--autoplay-policy=no-user-gesture-required",
            *flags,
            "about:blank",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
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
    try:
        yield found[1]
    finally:
        process.terminate()
        process.wait(WAIT_S)
        drain.join(WAIT_S)
        process.stderr.close()


@contextmanager
def new_tab(browser: str) -> Iterator[Tab]:
    """Open a tab of its own."""
    request = urllib.request.Request(f"http://{browser}/json/new", method="PUT")
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        target = json.load(response)
    with connect(target["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
        yield Tab(socket)
        with urllib.request.urlopen(f"http://{browser}/json/close/{target['id']}", timeout=WAIT_S):
            pass


class ServedPage:
    """A server of this process."""

    def __init__(self, engine: LiveEngine, config: ServeConfig) -> None:
        self._listener = listen("127.0.0.1", 0)
        self.url = url_of(self._listener, "127.0.0.1")
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(engine, config),
                log_level="warning",
                ws="websockets-sansio",
                lifespan="on",
                timeout_graceful_shutdown=3,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}
        )
        self._thread.start()

    def pull_cable(self) -> None:
        """Break every connection as a network does: without a word."""
        (listening,) = self._server.servers
        loop = listening.get_loop()
        for connection in list(self._server.server_state.connections):
            loop.call_soon_threadsafe(connection.transport.abort)  # type: ignore[union-attr]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_S)
        self._listener.close()


@contextmanager
def served_page(engine: LiveEngine, config: ServeConfig) -> Iterator[ServedPage]:
    """Serve the page of an engine until the test is over."""
    page = ServedPage(engine, config)
    try:
        yield page
    finally:
        page.stop()
