"""What a person does on the page: mute, a cable pulled, background work, examples, a download.

The model is scripted: what it says, and when, is written down; everything else is real.
"""

import base64
import io
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.inference.agent.process import start_agent
from microturn.inference.audio import write_wav
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import (
    NEEDS_BROWSER,
    ServedPage,
    Tab,
    browser_hearing,
    new_tab,
    served_page,
)
from tests.support.scripted import scripted_ids

pytestmark = [pytest.mark.clients, NEEDS_BROWSER]

HEARD = {1: "eight", 3: "plus", 5: "three", 60: "four"}
SAID = {2: "four", 7: "<delegate>", 8: "moment", 9: "please"}
TONE = 0.1 * np.sin(2 * np.pi * 400 * np.arange(3_200) / 16_000)  # what is heard while it speaks


class ScriptedBatch(RowBatch):
    """A model that costs nothing and keeps what it hears, row by row."""

    def __init__(self, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(checkpoint, 2)
        self.heard: list[Audio] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        return {row: self._step(row, micro_turn) for row, micro_turn in inputs.items()}

    def _step(self, row: int, micro_turn: MicroTurnIn) -> MicroTurnOut:
        k = int(self.micro_turns[row])
        self.micro_turns[row] += 1
        self.heard.append(micro_turn.audio.copy())
        tokens = {
            "heard": scripted_ids(self.tokenizer, HEARD.get(k, ""))[:1],
            "say": scripted_ids(self.tokenizer, SAID.get(k, ""))[:1],
        }
        sound = TONE if k in SAID else np.zeros_like(TONE)
        return MicroTurnOut(audio=sound.astype(np.float32), tokens=tokens)

    def hears_sound(self) -> bool:
        return bool(self.heard) and float(np.abs(self.heard[-1]).max()) > 1e-4


@pytest.fixture(scope="module")
def browser(recording: Audio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    noisy = np.tile(recording, 3) + 0.01 * np.random.default_rng(0).standard_normal(
        3 * len(recording)
    )
    write_wav(folder / "microphone.wav", noisy.astype(np.float32), sample_rate=16_000)
    with browser_hearing(folder / "microphone.wav", folder / "profile") as browser:
        yield browser


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    with new_tab(browser) as tab:
        yield tab


@pytest.fixture
def batch(checkpoint: LoadedCheckpoint) -> ScriptedBatch:
    return ScriptedBatch(checkpoint)


@pytest.fixture
def config(tmp_path: Path) -> ServeConfig:
    """A checkpoint folder that knows two voices and has one example."""
    speakers = {"ann": {"a": 3.0}, "bob": {"c": 1.0}}
    (tmp_path / "contents.json").write_text(json.dumps({"speakers": speakers}))
    (tmp_path / "examples").mkdir()
    chirp = 0.3 * np.sin(np.cumsum(np.linspace(0.05, 0.6, 16_000)))
    soundfile.write(tmp_path / "examples" / "0.flac", chirp, 16_000)
    row = {"file": "0.flac", "title": "eight plus three", "seconds": 1.0}
    (tmp_path / "examples" / "examples.json").write_text(json.dumps([row]))
    return ServeConfig(
        checkpoint=str(tmp_path),
        max_waiting_micro_turns=1_000,
        agent=AgentConfig(settle_s=0.0, latency_s=0.0),
    )


@pytest.fixture
def page(batch: ScriptedBatch, config: ServeConfig) -> Iterator[ServedPage]:
    with served_page(LiveEngine(batch, config, agent=start_agent(config.agent)), config) as page:
        yield page


def start_talking(tab: Tab, page: ServedPage) -> None:
    tab.open(page.url)
    tab.click("#talk")
    tab.wait("the microphone", lambda: tab.text("status") == "listening")


def test_mute_is_silence_for_the_agent_and_the_conversation_goes_on(
    tab: Tab, page: ServedPage, batch: ScriptedBatch
) -> None:
    start_talking(tab, page)
    assert tab.value("document.getElementById('level').hidden") is False
    assert tab.value("document.getElementById('devices').options.length") >= 1
    tab.wait("sound", batch.hears_sound)
    tab.click("#mute")
    assert tab.text("status") == "muted"
    tab.wait("silence", lambda: not batch.hears_sound())
    n = len(batch.heard)
    tab.wait("more silence", lambda: len(batch.heard) > n + 5)
    assert not any(np.abs(audio).max() > 1e-4 for audio in batch.heard[n:])
    tab.click("#mute")
    assert tab.text("status") == "listening"
    tab.wait("sound again", batch.hears_sound)
    tab.click("#talk")
    tab.wait("the end", lambda: tab.text("status") == "stopped")
    assert tab.is_hidden("mute")
    assert tab.problems == []


def test_a_broken_connection_is_made_again_and_the_transcript_stays(
    tab: Tab, page: ServedPage
) -> None:
    start_talking(tab, page)
    tab.wait("words", lambda: "three" in tab.text("transcript"))
    page.pull_cable()
    tab.wait("the note", lambda: "the connection broke" in tab.text("transcript"))
    tab.wait("a new connection", lambda: tab.text("status") == "listening")
    tab.wait("words again", lambda: tab.text("transcript").count("three") == 2)
    before, after = tab.text("transcript").split("the connection broke")
    assert "Youeight plus three" in before
    assert "Youeight plus three" in after
    assert tab.is_hidden("problem")
    # The clock of the page goes on.
    times = tab.value("[...document.querySelectorAll('#transcript time')].map(e => e.textContent)")
    seconds = [int(time.split(":")[0]) * 60 + int(time.split(":")[1]) for time in times]
    assert seconds == sorted(seconds)
    page.stop()
    tab.wait("tries", lambda: "trying again (3 of 6)" in tab.text("status"))
    tab.click("#talk")
    assert tab.text("status") == "stopped"
    assert "eight plus three" in tab.text("transcript")


def test_background_work_shows_its_question_steps_and_result(tab: Tab, page: ServedPage) -> None:
    start_talking(tab, page)
    tab.wait("the result", lambda: "told to the agent: eleven" in tab.text("delegations"))
    assert "done: eleven" in tab.text("delegations")
    assert tab.value("document.querySelector('#delegations button').hidden") is True


def test_cards_show_text_as_text_and_are_replaced(tab: Tab, page: ServedPage) -> None:
    tab.open(page.url)
    evil = "<img src=x onerror=alert(1)>"
    cards = [
        {"id": "d1", "card": 0, "kind": "text", "title": evil, "text": f"one\ntwo {evil}"},
        {"id": "d1", "card": 1, "kind": "list", "title": "Places", "items": ["a", evil]},
        {"id": "d1", "card": 2, "kind": "table", "columns": ["x", "y"], "rows": [["1", evil]]},
        {"id": "d1", "card": 1, "kind": "list", "title": "Places", "items": ["b"]},
        {"id": "d1", "card": 3, "kind": "sculpture", "title": "of the future"},
    ]
    shown = tab.value(
        f"""(async () => {{
            const {{ Background }} = await import('./background.js');
            const list = document.getElementById('delegations');
            const cancelled = [];
            const background = new Background(list, (id) => cancelled.push(id));
            background.delegation({{ id: 'd1', status: 'accepted', text: '', about: 'which' }});
            for (const card of {json.dumps(cards)}) background.card(card);
            list.querySelector('button').click();
            return {{
                cancelled,
                images: list.querySelectorAll('img').length,
                titles: [...list.querySelectorAll('h3')].map((e) => e.textContent),
                items: [...list.querySelectorAll('li li')].map((e) => e.textContent),
                cells: [...list.querySelectorAll('th, td')].map((e) => e.textContent),
                text: list.querySelector('.card p').textContent,
                about: list.querySelector('b').textContent,
            }};
        }})()"""
    )
    assert shown == {
        "cancelled": ["d1"],
        "images": 0,
        "titles": [evil, "Places", "of the future"],
        "items": ["b"],
        "cells": ["x", "y", "1", evil],
        "text": f"one\ntwo {evil}",
        "about": "which",
    }


def test_at_the_width_of_a_phone_nothing_stands_over_anything(tab: Tab, page: ServedPage) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    tab.call("Emulation.setDeviceMetricsOverride", **size)
    start_talking(tab, page)
    tab.wait("words", lambda: "please" in tab.text("transcript"))
    assert tab.value("document.documentElement.scrollWidth") <= 360
    overlapping = tab.value(
        """(() => {
            const shown = 'button, meter, select, h1, h2, dd, #status';
            const boxes = [...document.querySelectorAll(shown)]
                .filter((e) => e.checkVisibility())
                .map((e) => [e.textContent, e.getBoundingClientRect()]);
            const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
                && a.top < b.bottom - 1 && b.top < a.bottom - 1;
            return boxes.flatMap(([name, a], i) => boxes.slice(i + 1)
                .filter(([, b]) => over(a, b)).map(([other]) => `${name} over ${other}`));
        })()"""
    )
    assert overlapping == []


def test_words_on_the_canvas_leave_each_other_room(tab: Tab, page: ServedPage) -> None:
    """Many words in a second on a narrow canvas."""
    tab.open(page.url)
    drawn = tab.value(
        """(async () => {
            const { Lanes } = await import('./lanes.js');
            const canvas = document.getElementById('lanes');
            canvas.style.width = '320px';
            const drawn = [];
            const pen = canvas.getContext('2d');
            const fillText = pen.fillText.bind(pen);
            pen.fillText = (text, x, y) => {
                drawn.push([text, x, x + pen.measureText(text).width, y]);
                fillText(text, x, y);
            };
            const lanes = new Lanes(canvas);
            lanes.begin({ micro_turn_ms: 200 });
            for (let k = 0; k < 40; k++) {
                for (const side of ['user', 'agent']) {
                    lanes.word({ side, text: `number${k}`, time_s: k * 0.2 });
                }
                lanes.lost('input', [[k, k + 1]]);
                drawn.length = 0;
                lanes.microTurn(k, 50);
            }
            return drawn;
        })()"""
    )
    assert len(drawn) > 10
    for height in {y for *_, y in drawn}:
        row = sorted((left, right) for _, left, right, y in drawn if y == height)
        assert all(right <= left for (_, right), (left, _) in itertools.pairwise(row))


def test_the_playback_cushion_shrinks_again_after_a_calm_while(tab: Tab, page: ServedPage) -> None:
    """Chunks of 200 ms: on time, then one 100 ms late (a gap), then on time for a minute."""
    tab.open(page.url)
    found = tab.value(
        """(async () => {
            const { JitterBuffer } = await import('./jitter.js');
            const rate = 16000;
            const buffer = new JitterBuffer(rate, 0.2);
            const block = new Float32Array(160);
            let due = 0;
            const states = {};
            let loud = 0;
            for (let ms = 0; ms < 90_000; ms += 10) {
                if (ms >= due) {
                    const k = Math.round(ms / 200);
                    // Speech for a second, then silence for a second.
                    buffer.add(new Float32Array(3200).fill(k % 10 < 5 ? 0.5 : 0));
                    due += 200;
                    if (ms === 10_000) due += 150;
                    if (ms > 10_000 && ms < 10_400) due -= 150;
                }
                buffer.fill(block.fill(0));
                if (ms > 20_000 && ms < 80_000) loud += block.filter((x) => x > 0.1).length;
                if (ms % 10_000 === 9_990) {
                    states[ms + 10] = [buffer.gaps, buffer.cushion / 16, buffer.least / 16];
                }
            }
            return { states, dropped: buffer.dropped, loud: loud / rate };
        })()"""
    )
    gaps = {ms: state[0] for ms, state in found["states"].items()}
    waits_ms = {ms: state[2] for ms, state in found["states"].items()}
    assert gaps == {"10000": 0, **{str(1_000 * s): 1 for s in range(20, 100, 10)}}
    assert waits_ms["10000"] == pytest.approx(60, abs=10)
    assert waits_ms["20000"] > 150  # after the gap the chunks that were late wait as well
    assert waits_ms["90000"] == pytest.approx(70, abs=10)
    assert found["dropped"] == 0
    assert found["loud"] == pytest.approx(30, abs=0.6)  # no speech was left out


NO_MICROPHONE = """
navigator.mediaDevices.getUserMedia = async () => {
  throw new DOMException("Requested device not found", "NotFoundError");
};
"""


def test_without_a_microphone_an_example_is_played_to_the_agent(
    tab: Tab, page: ServedPage, batch: ScriptedBatch
) -> None:
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=NO_MICROPHONE)
    tab.open(page.url)
    tab.wait("what it knows", lambda: "ann (75 %), bob (25 %)" in tab.text("knows"))
    tab.click("#talk")
    tab.wait("the sentence", lambda: "No microphone was found" in tab.text("problem"))
    assert "play an example" in tab.text("problem")
    assert tab.text("status") == "not connected"
    tab.click("#examples button")
    tab.wait("the example", lambda: tab.text("status") == "playing an example")
    tab.wait("its sound at the server", batch.hears_sound)
    tab.wait("the end of it", lambda: tab.text("status") == "the example is over")
    heard = np.concatenate(batch.heard)
    power = float((heard**2).sum())
    expected = float(16_000 * 0.3**2 / 2)
    assert power == pytest.approx(expected, rel=0.1)  # all of it, at its level
    assert tab.problems == []


def test_without_https_the_page_says_so(tab: Tab, page: ServedPage) -> None:
    source = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=source)
    tab.open(page.url)
    tab.click("#talk")
    tab.wait("the sentence", lambda: "The microphone needs https" in tab.text("problem"))


def test_a_server_that_is_gone_is_said_to_be_gone(tab: Tab, page: ServedPage) -> None:
    tab.open(page.url)
    page.stop()
    tab.click("#talk")
    gone = "The server does not answer. Is it still running?"
    tab.wait("the sentence", lambda: tab.text("problem") == gone)
    assert tab.text("status") == "not connected"


def test_typing_is_offered_only_where_the_checkpoint_was_trained_on_it(
    tab: Tab, page: ServedPage
) -> None:
    start_talking(tab, page)
    assert tab.is_hidden("type")


def test_the_download_has_both_sides_and_the_labels(
    tab: Tab, page: ServedPage, batch: ScriptedBatch
) -> None:
    start_talking(tab, page)
    tab.wait("the result", lambda: "told to the agent" in tab.text("delegations"))
    tab.wait("the last word", lambda: int(tab.text("received")) > max(SAID) + 1)
    tab.click("#talk")
    tab.wait("the end", lambda: tab.text("status") == "stopped")
    packed = tab.value(
        """(async () => {
            let file;
            const make = URL.createObjectURL;
            URL.createObjectURL = (blob) => make((file = blob));
            HTMLAnchorElement.prototype.click = () => {};
            document.querySelector('#download').click();
            const bytes = new Uint8Array(await file.arrayBuffer());
            let text = '';
            for (const byte of bytes) text += String.fromCharCode(byte);
            return btoa(text);
        })()"""
    )
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as files:
        assert files.testzip() is None
        sound, rate = soundfile.read(io.BytesIO(files.read("conversation.wav")), dtype="float32")
        labels: dict[str, Any] = json.loads(files.read("conversation.json"))
        words = files.read("transcript.txt").decode()
    assert rate == labels["sample_rate"] == 16_000
    assert labels["begins_at_s"] == 0
    user, agent = sound.T
    heard = np.concatenate(batch.heard)
    n = min(len(user), len(heard))
    assert np.abs(user[:n] - heard[:n]).max() < 1e-3
    # The output of a micro-turn stands where it was played: in the next one.
    spoken = [k for k in range(len(agent) // 3_200) if np.abs(agent[k * 3_200 :][:3_200]).max() > 0]
    assert spoken == [k + 1 for k in SAID]
    assert "0:00 user: eight\n" in words
    kinds = [event["type"] for event in labels["events"]]
    assert {"word", "delegation", "result"} <= set(kinds)
