"""The cable of a page is pulled and put back: its conversation goes on, or another one begins."""

import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from tests.support.browser import NEEDS_BROWSER, WAIT_S, Tab, served_page
from tests.support.scripted_page import ScriptedBatch, download, start_talking

pytestmark = [pytest.mark.clients, NEEDS_BROWSER]


class HaltingBatch(ScriptedBatch):
    """Halts in one micro-turn until it may go on."""

    def __init__(self, checkpoint: LoadedCheckpoint, *, at: int) -> None:
        super().__init__(checkpoint)
        self.at, self.may_go_on = at, threading.Event()

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        if len(self.heard) == self.at:
            assert self.may_go_on.wait(WAIT_S)
        return super().step_rows(inputs)


def test_a_conversation_goes_on_over_a_new_connection(
    tab: Tab, checkpoint: LoadedCheckpoint, config: ServeConfig
) -> None:
    batch = ScriptedBatch(checkpoint, {1: "eight", 3: "plus", 30: "three"})
    with served_page(LiveEngine(batch, config), config) as page:
        start_talking(tab, page)
        tab.wait("words", lambda: "plus" in tab.text("transcript"))
        page.pull_cable()
        tab.wait("the loss", lambda: "trying again (1 of 6)" in tab.text("status"))
        tab.wait("the return", lambda: tab.text("status") == "listening")
        tab.wait("the last word", lambda: "three" in tab.text("transcript"))
        tab.click("#talk")
        tab.wait("the end", lambda: tab.text("status") == "stopped")
        assert "the connection broke" not in tab.text("transcript")
        assert tab.text("dropped") == "0"
        assert tab.is_hidden("problem")
        # All that the microphone gave meanwhile was heard, once and in its place.
        heard = np.concatenate(batch.heard)
        user = download(tab).sound[:, 0]
        n = min(len(user), len(heard))
        assert n >= 31 * 3_200
        assert np.abs(user[:n] - heard[:n]).max() < 1e-3


def test_a_connection_that_answers_nothing_is_made_again(
    tab: Tab, checkpoint: LoadedCheckpoint, config: ServeConfig
) -> None:
    """A browser notices a pulled cable minutes later; the page does after some seconds."""
    batch = HaltingBatch(checkpoint, at=4)
    engine = LiveEngine(batch, config)
    with served_page(engine, config) as page:
        start_talking(tab, page)
        tab.wait("the loss", lambda: "trying again (1 of 6)" in tab.text("status"))
        tab.wait("the return", lambda: tab.text("status") == "listening")
        batch.may_go_on.set()
        tab.wait("words", lambda: "three" in tab.text("transcript"))
        assert tab.text("transcript").count("eight") == 1
        assert engine.health()["sessions"] == 1


def test_a_new_conversation_begins_where_the_old_one_is_over_and_the_transcript_stays(
    tab: Tab, batch: ScriptedBatch, config: ServeConfig
) -> None:
    config = replace(config, resume_s=0.01)
    with served_page(LiveEngine(batch, config), config) as page:
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
        times = "[...document.querySelectorAll('#transcript time')].map(e => e.textContent)"
        clocks = [time.split(":") for time in tab.value(times)]
        seconds = [int(minutes) * 60 + int(rest) for minutes, rest in clocks]
        assert seconds == sorted(seconds)
        page.stop()
        tab.wait("tries", lambda: "trying again (3 of 6)" in tab.text("status"))
        tab.click("#talk")
        assert tab.text("status") == "stopped"
        assert "eight plus three" in tab.text("transcript")
