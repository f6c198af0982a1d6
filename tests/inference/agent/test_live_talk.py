"""The agent of a live session: what the engine lets it know of the conversation."""

from dataclasses import replace

import numpy as np
import pytest

from microturn.inference.agent.agent import Emit, Job
from microturn.inference.agent.package import ContextPackage
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.serve.codec import ServerMessage
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.outbox import MAX_WAITING_AUDIO, Outbox
from microturn.inference.serve.session.live_session import LiveSession
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint
from support.scripted_rows import ScriptedRows

SEEING = replace(TINY_LAYOUT, video_rows=1, video_cols=1)
SAID = {1: "hello", 4: "moment", 7: "<delegate>"}


class Listener:
    """An agent that keeps what it is given and does nothing."""

    def __init__(self) -> None:
        self.packages: list[ContextPackage] = []

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        self.packages.append(package)
        return self  # type: ignore[return-value]

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def rows() -> ScriptedRows:
    words = ("hello", "moment", "eight", "plus", "three")
    return ScriptedRows(random_checkpoint(0, layout=SEEING, words=words), 1)


def talk(engine: LiveEngine, session: LiveSession, n: int) -> None:
    for _ in range(n):
        session.push_audio(np.zeros(SEEING.samples_per_micro_turn, np.float32))
        engine.step()


def test_the_package_of_a_live_session_is_whole(rows: ScriptedRows) -> None:
    rows.scripts[0] = ({2: "eight", 3: "plus", 5: "three"}, SAID)
    agent = Listener()
    engine = LiveEngine(rows, ServeConfig(agent=AgentConfig(), instructions="be kind"), agent=agent)
    session = engine.join(lambda message: None)
    frame = np.full((40, 40, 3), 200, np.uint8)
    session.show("video", frame)
    session.mark_unplayed(4)  # its sound will be dropped: reported before the word is complete
    session.type_text("plus")
    talk(engine, session, 6)
    session.mark_unplayed(1)
    talk(engine, session, 6)
    (package,) = agent.packages
    assert [(w.side, w.text, w.played) for w in package.words] == [
        ("agent", "hello", False),
        ("user", "eight", True),
        ("user", "plus", True),
        ("agent", "moment", False),
        ("user", "three", True),
    ]
    assert [typed.text for typed in package.typed] == ["plus"]
    assert package.instructions == "be kind"
    assert package.still is not None
    assert package.still.lane == "video"
    assert package.text_budget == 40  # 8 s at one token a micro-turn
    session.leave()
    engine.step()


def test_the_outbox_tells_whose_sound_it_dropped() -> None:
    outbox = Outbox()
    for micro_turn in range(MAX_WAITING_AUDIO + 2):
        outbox.put(ServerMessage(payload=b"..", is_audio=True, micro_turn=micro_turn))
    assert outbox.take_unplayed() == [0, 1]
    assert outbox.take_unplayed() == []
