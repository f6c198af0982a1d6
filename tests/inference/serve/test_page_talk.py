"""What a person does on the page: mute, a cable pulled, background work, examples, a download.

The model is scripted: what it says, and when, is written down; everything else is real.
"""

from collections.abc import Mapping

import numpy as np
import pytest

from microturn.inference.agent.process import start_agent
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import random_checkpoint
from tests.support.browser import (
    NEEDS_BROWSER,
    ServedPage,
    Tab,
    served_page,
)
from tests.support.scripted_page import SAID, ScriptedBatch, download, start_talking

pytestmark = [pytest.mark.clients, NEEDS_BROWSER]


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


def test_background_work_shows_its_question_steps_and_result(tab: Tab, page: ServedPage) -> None:
    start_talking(tab, page)
    tab.wait("the result", lambda: "told to the agent: eleven" in tab.text("delegations"))
    assert "done: eleven" in tab.text("delegations")
    assert tab.value("document.querySelector('#delegations button').hidden") is True


def unruly(words: Mapping[int, str]) -> tuple[ScriptedBatch, ServeConfig]:
    """A back end that does what the user's first word says, in its own process."""
    known = random_checkpoint(0, words=("hang", "stream", "moment", "please", "four"))
    backend = AgentConfig(
        settle_s=0.0,
        latency_s=0.0,
        backend="support.back_ends:make_unruly",
        options={"greeting": ""},
    )
    return ScriptedBatch(known, words), ServeConfig(
        max_waiting_micro_turns=1_000, max_behind_ms=0.0, agent=backend
    )


def test_work_that_takes_too_long_is_cancelled_by_its_button(tab: Tab) -> None:
    batch, config = unruly({1: "hang"})
    engine = LiveEngine(batch, config, agent=start_agent(config.agent))
    with served_page(engine, config) as page:
        start_talking(tab, page)
        tab.wait("the work", lambda: "hang" in tab.text("delegations"))
        assert tab.value("document.querySelector('#delegations button').hidden") is False
        tab.click("#delegations button")
        tab.wait("its end", lambda: "cancelled" in tab.text("delegations"))
        assert tab.value("document.querySelector('#delegations button').hidden") is True
        assert tab.text("status") == "listening"


def test_parts_and_cards_of_a_back_end_arrive_on_the_page(tab: Tab) -> None:
    batch, config = unruly({1: "stream"})
    engine = LiveEngine(batch, config, agent=start_agent(config.agent))
    with served_page(engine, config) as page:
        start_talking(tab, page)
        tab.wait("the result", lambda: "done: second half" in tab.text("delegations"))
        assert tab.value("document.querySelector('#delegations b').textContent") == "stream"
        assert tab.value("document.querySelector('.card h3').textContent") == "t"
        assert tab.value("document.querySelector('.card p').textContent") == "a\nb"
        assert tab.problems == []


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
    kept = download(tab)
    labels, words = kept.labels, kept.transcript
    assert kept.rate == labels["sample_rate"] == 16_000
    assert labels["begins_at_s"] == 0
    user, agent = kept.sound.T
    heard = np.concatenate(batch.heard)
    n = min(len(user), len(heard))
    assert np.abs(user[:n] - heard[:n]).max() < 1e-3
    # The output of a micro-turn stands where it was played: in the next one.
    spoken = [k for k in range(len(agent) // 3_200) if np.abs(agent[k * 3_200 :][:3_200]).max() > 0]
    assert spoken == [k + 1 for k in SAID]
    assert "0:00 user: eight\n" in words
    kinds = [event["type"] for event in labels["events"]]
    assert {"word", "delegation", "result"} <= set(kinds)
