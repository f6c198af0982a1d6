"""The agent in a room where its microphone hears its loudspeaker."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import NEEDS_BROWSER, Tab, browser_with, new_tab, served_page
from tests.support.page.room import NEEDS_PULSEAUDIO, Room, sound_room
from tests.support.scripted_page import ScriptedBatch

pytestmark = [pytest.mark.clients, pytest.mark.slow, NEEDS_BROWSER, NEEDS_PULSEAUDIO]

MICRO_TURNS = 60
ADAPTED = 30  # the canceller has heard enough by then
GAPS = 5  # of playback; with more the canceller has nothing to hold on to


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "room").mkdir()
    with sound_room(tmp_path / "room") as room:
        yield room


@pytest.fixture
def tab(room: Room, tmp_path: Path) -> Iterator[Tab]:
    with (
        browser_with(tmp_path / "profile", environment=room.environment) as browser,
        new_tab(browser) as tab,
    ):
        yield tab


class TalkingAgent(ScriptedBatch):
    """Says a recording again and again."""

    def __init__(self, checkpoint: LoadedCheckpoint, recording: Audio) -> None:
        super().__init__(checkpoint, {})
        n = self.layout.samples_per_micro_turn
        self.pieces = recording[: len(recording) // n * n].reshape(-1, n)

    def _step(self, row: int, micro_turn: MicroTurnIn) -> MicroTurnOut:
        piece = self.pieces[int(self.micro_turns[row]) % len(self.pieces)]
        out = super()._step(row, micro_turn)
        return MicroTurnOut(audio=piece, tokens=out.tokens)


def decibels(audio: Audio) -> float:
    return float(10 * np.log10(np.mean(np.square(audio)) + 1e-12))


def test_the_page_lowers_the_agents_voice_in_its_microphone(
    tab: Tab, checkpoint: LoadedCheckpoint, recording: Audio
) -> None:
    levels_db = {}
    for headphones in (True, False):  # said to wear them, though there are none: no canceller
        batch = TalkingAgent(checkpoint, recording)
        config = ServeConfig(max_waiting_micro_turns=500)
        with served_page(LiveEngine(batch, config), config) as page:
            tab.open(page.url)
            if headphones:
                tab.click("#headphones")
            tab.click("#talk")
            tab.wait("the microphone", lambda: tab.text("status") == "listening")
            tab.wait("the echo", lambda batch=batch: len(batch.heard) >= MICRO_TURNS)
            heard = np.concatenate(batch.heard[ADAPTED:MICRO_TURNS])
            levels_db[headphones] = decibels(heard) - decibels(batch.pieces)
            gaps = int(tab.text("gaps"))
            tab.click("#talk")
            tab.wait("the end", lambda: tab.text("status") == "stopped")
            if gaps > GAPS:
                pytest.skip(f"this machine is too busy: {gaps} gaps of playback")
    print(
        f"the agent's voice in its microphone: {levels_db[True]:.1f} dB without the canceller, "
        f"{levels_db[False]:.1f} dB with it"
    )
    assert levels_db[True] > -6  # the room works
    assert levels_db[False] < levels_db[True] - 3
