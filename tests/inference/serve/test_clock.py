"""Overload does not stop the clock: words, cues and results stay on the client's wall clock."""

import asyncio
import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest
import uvicorn

from microturn.inference.agent.agent import AgentEvent, Emit, Job
from microturn.inference.agent.delegation import ResultEvent
from microturn.inference.agent.package import ContextPackage
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.conversation import WordEvent
from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.client import talk_to_server
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import MicroTurnReport, Problem
from microturn.inference.serve.server import create_app, listen
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from support.scripted import scripted_ids

P, SAMPLES = TINY_LAYOUT.micro_turn_s, TINY_LAYOUT.samples_per_micro_turn
CUE, COUNT, N = 20, 15, 60  # "in three seconds", said in micro-turn 20 of 60
LOUD = np.full(SAMPLES, 0.95, np.float32)


class CountingBatch(RowBatch):
    """Says "four" COUNT micro-turns after a loud one, by the model's own clock, and delegates."""

    def __init__(self, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(checkpoint, 1)
        self.now, self.model_s = 100.0, 0.0
        self.due: int | None = None

    def clock(self) -> float:
        return self.now

    def pass_over(self, gaps: Mapping[int, Gap]) -> None:
        before = self.micro_turns.copy()
        super().pass_over(gaps)
        for row, gap in gaps.items():
            first = int(before[row]) + gap.n - len(gap.newest)
            for k, micro_turn in enumerate(gap.newest):
                self.listen(micro_turn, first + k)

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        now = int(self.micro_turns[0])
        self.listen(inputs[0], now)
        real = super().step_rows(inputs)[0]
        self.now += self.model_s
        say = ""
        if self.due is not None and now >= self.due:
            say, self.due = "four <delegate>", None
        tokens = {"heard": [], "say": scripted_ids(self.tokenizer, say)}
        return {0: MicroTurnOut(audio=real.audio, tokens=tokens)}

    def listen(self, micro_turn: MicroTurnIn, index: int) -> None:
        if micro_turn.audio.max() > 0.9:
            self.due = index + COUNT


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    return random_checkpoint(5, words=("four", "o'clock", "one", "moment"))


class QuickAgent:
    """Knows its answer at once; it is told when the conversation lets it."""

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        emit(AgentEvent(delegation_id=package.delegation_id, seq=0, status="accepted"))
        emit(AgentEvent(delegation_id=package.delegation_id, seq=1, status="final", text="one"))
        return self

    def cancel(self) -> None:
        raise AssertionError("nobody cancels")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("model_s", [0.01, 1.25 * P, 3.1 * P])
def test_a_cue_comes_on_time_however_much_is_dropped(
    checkpoint: LoadedCheckpoint, model_s: float
) -> None:
    batch = CountingBatch(checkpoint)
    batch.model_s = model_s
    config = ServeConfig(agent=AgentConfig(latency_s=1.6, settle_s=0.4))
    engine = LiveEngine(batch, config, agent=QuickAgent(), clock=batch.clock)
    reports: list[MicroTurnReport] = []

    def deliver(message: MicroTurnReport | Problem) -> None:
        assert isinstance(message, MicroTurnReport)
        reports.append(message)

    session, due = engine.join(deliver), batch.now
    for k in range(N):
        due += P
        while batch.now < due and engine.step():
            pass
        batch.now = max(batch.now, due)
        session.push_audio(LOUD if k == CUE else np.zeros(SAMPLES, np.float32))
    while engine.step():
        pass
    n_lost = reports[-1].dropped
    assert (n_lost > N // 8) == (model_s > P)
    longest = max(report.n_passed for report in reports)  # a cue may fall into a gap
    events = [event for report in reports for event in report.events]
    (said,) = [e.word.micro_turn for e in events if isinstance(e, WordEvent)]
    assert 0 <= said - (CUE + COUNT + 1) <= longest
    (told,) = [e.micro_turn for e in events if isinstance(e, ResultEvent)]
    assert 0 <= told - (said - 1 + round(1.6 / P)) <= longest


class Slow(RowBatch):
    """Takes longer than a micro-turn lasts."""

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        time.sleep(1.7 * P)
        outputs = super().step_rows(inputs)
        loud = np.full(SAMPLES, 0.5, np.float32)
        return {row: MicroTurnOut(audio=loud, tokens=o.tokens) for row, o in outputs.items()}


def test_the_client_knows_which_micro_turns_were_lost_and_keeps_their_time(
    checkpoint: LoadedCheckpoint,
) -> None:
    config = ServeConfig(max_waiting_micro_turns=2)
    app = create_app(LiveEngine(Slow(checkpoint, 1), config), config)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", ws="websockets-sansio", lifespan="on")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    n = 15
    try:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
        samples = np.zeros(n * SAMPLES, np.float32)
        answer = asyncio.run(talk_to_server(url, samples, real_time=True))
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert len(answer.lost) > 2
    assert sorted([*answer.pieces, *answer.lost]) == list(range(n))
    heard = answer.audio.reshape(n + 1, SAMPLES)
    assert [k for k in range(n) if not heard[k + 1].any()] == answer.lost
    told = [e["micro_turn"] for e in answer.events if e["type"] == "micro_turn"]
    assert told == sorted(answer.pieces)
