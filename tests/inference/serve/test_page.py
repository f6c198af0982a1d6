"""The page in a real browser: a recording as its microphone, the sound of the answer played."""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from microturn.inference.agent.process import start_agent
from microturn.inference.audio import write_wav
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import NEEDS_BROWSER, WAIT_S, Tab, browser_hearing, new_tab, served_page
from tests.support.loudness import loudness, most_alike

pytestmark = [pytest.mark.clients, NEEDS_BROWSER]


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
        batch,
        ServeConfig(max_waiting_micro_turns=50, max_behind_ms=0.0),
        agent=start_agent(AgentConfig()),
    )


@pytest.fixture
def tab(recording: Audio, tmp_path: Path) -> Iterator[Tab]:
    microphone = tmp_path / "microphone.wav"
    write_wav(microphone, np.tile(recording, 3), sample_rate=16_000)
    with browser_hearing(microphone, tmp_path / "profile") as browser, new_tab(browser) as tab:
        yield tab


@pytest.fixture
def page_url(engine: LiveEngine) -> Iterator[str]:
    with served_page(engine, ServeConfig()) as page:
        yield page.url


@pytest.fixture
def guarded_url(engine: LiveEngine) -> Iterator[str]:
    with served_page(engine, ServeConfig(token="open sesame")) as page:
        yield page.url


def test_sound_goes_both_ways_and_the_page_shows_it(
    tab: Tab, page_url: str, engine: LiveEngine, batch: ListeningBatch, recording: Audio
) -> None:
    tab.open(page_url)
    assert tab.text("status") == "not connected"
    tab.click("#headphones")  # a canceller would change what is sent while the agent makes sound
    tab.click("#talk")
    tab.wait("the microphone", lambda: tab.text("status") == "listening")
    tab.wait("sound to the server", lambda: int(tab.text("sent")) >= 10)
    tab.wait("sound from the server", lambda: int(tab.text("received")) >= 10)
    tab.wait("sound in the player", lambda: re.fullmatch(r"\d+ ms", tab.text("buffer")) is not None)
    assert re.fullmatch(r"\d+ ms", tab.text("lag"))
    assert tab.text("dropped") == "0"
    assert tab.value("document.getElementById('problem').hidden") is True
    assert engine.health()["sessions"] == 1

    tab.click("#talk")
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
    tab.open(f"{guarded_url}?token=wrong")
    assert tab.value("location.search") == ""
    sentence = "this is not the token of the server; ask whoever started it"
    tab.wait("the refusal", lambda: tab.text("problem") == sentence)  # as soon as it is opened
    tab.click("#talk")
    tab.wait("the refusal", lambda: tab.text("status") == "not connected")
    assert tab.text("problem") == sentence
    assert all("401" in problem for problem in tab.problems)
    tab.problems.clear()
    tab.open(f"{guarded_url}?token=open%20sesame")
    tab.click("#talk")
    tab.wait("the microphone", lambda: tab.text("status") == "listening")
    assert tab.problems == []
