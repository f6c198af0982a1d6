"""The agent in a room where its microphone hears its loudspeaker: what that costs is counted."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.inference.agent.process import start_agent
from microturn.inference.config import ServeConfig
from microturn.inference.load import load_rows
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams.pcm import Audio
from tests.support.browser import NEEDS_BROWSER, Tab, browser_with, new_tab, served_page
from tests.support.page.room import NEEDS_PULSEAUDIO, Room, sound_room
from tests.support.scripted_page import ScriptedBatch

pytestmark = [pytest.mark.clients, pytest.mark.slow, NEEDS_BROWSER, NEEDS_PULSEAUDIO]

DEMO = "runs/demo/checkpoint"  # of `make demo`, whose words are counted
MICRO_TURNS = 60
ADAPTED = 30  # the canceller has heard enough by then
QUESTIONS = ("number seven", "eight plus three", "monday tomorrow", "five plus four")
EVERY_S, BETWEEN_S = 5.0, 0.08
SPOKEN = Counter(" ".join(QUESTIONS).split())
NO_ECHO_DB = -120.0
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


def asked(corpus: Corpus) -> Audio:
    """What the user says, a question every EVERY_S seconds."""
    sound = np.zeros(round(EVERY_S * len(QUESTIONS) * corpus.sample_rate), np.float32)
    for k, question in enumerate(QUESTIONS):
        at = round((k * EVERY_S + 1.0) * corpus.sample_rate)
        for word in question.split():
            (first, *_) = [u for u in corpus.filter(speaker="asterisk-en") if u.text == word]
            spoken = corpus.load(first)
            sound[at : at + len(spoken)] += spoken
            at += len(spoken) + round(BETWEEN_S * corpus.sample_rate)
    return sound


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


def words_of(tab: Tab, side: str) -> Counter[str]:
    lines = f"[...document.querySelectorAll('#transcript .{side} span')].map((e) => e.textContent)"
    return Counter(" ".join(tab.value(lines)).split())


@pytest.mark.skipif(not Path(DEMO).is_dir(), reason="make demo first")
def test_words_that_a_models_own_voice_costs_it(tab: Tab, room: Room) -> None:
    """Without an echo, with a loud one, and with the same and the browser's canceller."""
    user = asked(Corpus.open(DEFAULT_FOLDER))
    heard, said = dict[str, Counter[str]](), dict[str, Counter[str]]()
    runs = {"no echo": (NO_ECHO_DB, True), "echo": (0.0, True), "echo, cancelled": (0.0, False)}
    for name, (echo_db, headphones) in runs.items():
        room.echo_db = echo_db
        late_ms = talk(tab, room, user, headphones=headphones)
        heard[name], said[name] = words_of(tab, "user"), words_of(tab, "agent")
        wrong, missed = heard[name] - SPOKEN, SPOKEN - heard[name]
        because = said[name] - said["no echo"]
        print(
            f"{name}: {wrong.total()} words heard that nobody said ({' '.join(wrong.elements())}), "
            f"{missed.total()} of {SPOKEN.total()} missed; {because.total()} of "
            f"{said[name].total()} words said only because of it ({' '.join(because.elements())}); "
            f"answers after {late_ms}"
        )
    assert (SPOKEN - heard["no echo"]).total() < SPOKEN.total() / 2  # there is something to lose


def talk(tab: Tab, room: Room, user: Audio, *, headphones: bool) -> str:
    """Let the user ask all questions; returns how late the last answer was."""
    config = ServeConfig(max_waiting_micro_turns=500, max_behind_ms=0.0)
    rows = load_rows(DEMO, 1, seed=0, threads=1, device="cpu")
    engine = LiveEngine(rows, config, agent=start_agent(config.agent))
    with served_page(engine, config) as page:
        tab.open(page.url)
        if headphones:
            tab.click("#headphones")
        tab.click("#talk")
        tab.wait("the microphone", lambda: tab.text("status") == "listening")
        room.say(user)
        first = int(tab.text("sent"))
        n = round(len(user) / rows.layout.samples_per_micro_turn)
        for k in range(first, first + n, MICRO_TURNS):  # each wait has its own patience
            tab.wait("answers", lambda k=k: int(tab.text("received")) >= k + MICRO_TURNS)
        late = tab.text("lag")
        tab.click("#talk")
        tab.wait("the end", lambda: tab.text("status") == "stopped")
        return late
