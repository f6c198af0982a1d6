"""The page of a dialogue: all in one file, and played in a real browser."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from microturn.datagen.pipeline import encode_npz
from microturn.datagen.report.page import page_of
from microturn.datagen.sets.shards import ShardReader

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_S = 30.0


@pytest.fixture(scope="module")
def page(finished_set: ShardReader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dialogue with stems, and with a video whose frames grow brighter."""
    sample = finished_set[1]
    n = sample.labels.n_micro_turns
    frames = np.zeros((n, 40, 80, 3), np.uint8) + np.arange(n, dtype=np.uint8)[:, None, None, None]
    members = {**sample.members, "video.npz": encode_npz({"frames": frames}, compress=True)}
    path = tmp_path_factory.mktemp("page") / "page.html"
    layout = replace(finished_set.layout, video_rows=1, video_cols=1)
    shown = replace(sample, members=members, layout=layout)
    text = page_of(shown, layout=layout, tokenizer=finished_set.tokenizer)
    path.write_text(text, encoding="utf-8")
    return path


def _data(page: Path) -> dict[str, Any]:
    found = re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_everything_is_inside_the_file(page: Path, finished_set: ShardReader) -> None:
    text = page.read_text()
    assert not re.search(r"https?://|\bsrc=|\bhref=|@import|\burl\(", text)
    assert "default-src 'none'" in text
    data, sample = _data(page), finished_set[1]
    assert set(data["sounds"]) >= {"microphone", "agent", "stem: user", "stem: echo"}
    assert data["words"] == json.loads(sample.members["json"])["words"]
    assert len(data["events"]) == len(sample.labels.events)
    assert len(data["peaks"]["agent"]) == round(data["seconds"] * data["peaks_per_s"])
    assert data["films"]["video"]["n"] == sample.labels.n_micro_turns


def test_events_on_one_row_never_meet(page: Path) -> None:
    rows: dict[int, float] = {}
    for event in _data(page)["events"]:
        window = (
            event["expect"]["window_s"] if event["expect"] else (event["start_s"], event["end_s"])
        )
        assert rows.get(event["row"], -1.0) <= min(event["start_s"], window[0])
        rows[event["row"]] = max(event["end_s"], window[1])


def test_words_cannot_end_the_script(finished_set: ShardReader) -> None:
    sample = finished_set[0]
    facts = {**sample.json, "voice": "</script><script>alert(1)</script>"}
    members = {**sample.members, "json": json.dumps(facts).encode()}
    evil = replace(sample, members=members)
    text = page_of(evil, layout=finished_set.layout, tokenizer=finished_set.tokenizer)
    assert "<script>alert" not in text


class Tab:
    """A page of the browser over its DevTools socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_S))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def value(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, userGesture=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        end = time.monotonic() + WAIT_S
        while not self.value(expression):
            assert time.monotonic() < end, f"never: {expression}; {self.value('problem()')}"
            time.sleep(0.05)


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    assert CHROMIUM is not None
    profile = tmp_path / "profile"
    process = subprocess.Popen(
        [
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        port_file, end = profile / "DevToolsActivePort", time.monotonic() + WAIT_S
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            assert time.monotonic() < end, "the browser did not start"
            time.sleep(0.05)
        address = f"http://127.0.0.1:{port_file.read_text().split()[0]}/json/list"
        with urllib.request.urlopen(address, timeout=WAIT_S) as response:
            pages = [target for target in json.load(response) if target["type"] == "page"]
        url = pages[0]["webSocketDebuggerUrl"]
        with connect(url, max_size=None, compression=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(WAIT_S)


@pytest.mark.clients
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium")
def test_sound_and_cursor_move_together(tab: Tab, page: Path) -> None:
    tab.call("Page.navigate", url=page.as_uri())
    tab.wait("document.readyState === 'complete' && typeof data === 'object'")
    tab.value("window.problem = () => document.getElementById('problem').textContent")
    assert tab.value("document.querySelectorAll('#events tr').length") == len(_data(page)["events"])
    tab.wait("data.films.video.image.naturalWidth > 0")
    tab.value("document.getElementById('play').click()")
    tab.wait("now() > 0.4")
    assert tab.value(
        "Object.values(buffers).every(b => Math.abs(b.duration - data.seconds) < 0.01)"
    )
    left = tab.value("parseFloat(document.getElementById('cursor').style.left)")
    tab.wait("now() > 0.8")
    assert tab.value("parseFloat(document.getElementById('cursor').style.left)") > left
    tab.value("document.getElementById('play').click()")
    stopped = tab.value("now()")
    time.sleep(0.2)
    assert tab.value("now()") == stopped
    tab.value("seek(5.05)")
    # The frame of micro-turn 25 is the one that is shown.
    pixel = (
        "document.getElementById('frame-video').getContext('2d').getImageData(3, 3, 1, 1).data[0]"
    )
    assert tab.value(pixel) == 25
    assert tab.value("document.getElementById('problem').hidden") is True
