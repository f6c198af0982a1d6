"""Live talks beside a back end that misbehaves: the talk goes on, the model is told, bits stay."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from microturn.inference.agent.delegation import DelegationEvent
from microturn.inference.agent.process import AgentProcess
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import MicroTurnReport, Problem
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint
from microturn.model.streams import FAILED_RESULT
from support.scripted_rows import ScriptedRows

TIMEOUT_S = 2.0
KINDS = ("hang", "block", "flood", "nonsense", "die", "marks")
AS_WORDS = "eleven bg delegate system cancel bg nine"


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    words = (*KINDS, FAILED_RESULT, AS_WORDS, "yyy", "abcdefghijklmnopqrstuvwxyz'")
    return random_checkpoint(0, words=words)


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    """One for each test: here a time-out may pass before the process counts as one that hangs."""
    config = AgentConfig(
        backend="support.back_ends:make_unruly", options={"greeting": "hello"}, timeout_s=TIMEOUT_S
    )
    agent = AgentProcess(config)
    yield agent
    agent.close()


class Ear:
    def __init__(self) -> None:
        self.reports: list[MicroTurnReport] = []

    def __call__(self, message: MicroTurnReport | Problem) -> None:
        assert isinstance(message, MicroTurnReport), message
        self.reports.append(message)

    def statuses(self) -> set[str]:
        return {
            event.event.status
            for report in self.reports
            for event in report.events
            if isinstance(event, DelegationEvent)
        }


def noise(seed: int, n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_back_end_is_told_to_its_model_and_changes_no_neighbour(
    checkpoint: LoadedCheckpoint, agent: AgentProcess, kind: str
) -> None:
    """The clock of the conversation runs as fast as it can: what takes long is too late."""
    torch.set_num_threads(1)
    rows = ScriptedRows(checkpoint, 2)
    rows.scripts[0] = ({2: kind}, {5: "<delegate>"})
    timeout_s = 60.0 if kind == "marks" else TIMEOUT_S
    config = AgentConfig(settle_s=0.2, latency_s=0.4, timeout_s=timeout_s, result_s=40.0)
    engine = LiveEngine(rows, ServeConfig(agent=config), agent=agent)
    ear, other = Ear(), Ear()
    talking, neighbour = engine.join(ear), engine.join(other)
    n_samples, n = checkpoint.layout.samples_per_micro_turn, 80
    for k in range(n):
        talking.push_audio(np.zeros(n_samples, np.float32))
        neighbour.push_audio(noise(k, n_samples))
        assert engine.step() == 2
        if kind == "marks" and k > 5 and "final" not in ear.statuses():
            time.sleep(0.5)  # a clock that is nearly the wall's
    expected = {"marks": AS_WORDS, "flood": ""}.get(kind, FAILED_RESULT)
    assert expected in rows.words_read(0)
    assert ear.statuses() & ({"final"} if kind == "marks" else {"failed", "final"})
    alone = RowBatch(checkpoint, 1)
    for k in range(n):
        output = alone.step_rows({0: MicroTurnIn(audio=noise(k, n_samples))})[0]
        assert np.array_equal(output.audio, other.reports[k].output.audio)
