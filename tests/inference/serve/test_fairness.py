"""One client among others in the engine, tick by tick: its requests, and what fails in it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest
import torch

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import DELEGATE
from microturn.model.streams.pcm import Audio
from support.ears import opened
from support.sleeping_server import very_small_checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    torch.set_num_threads(1)
    return very_small_checkpoint()


def noise(k: int) -> Audio:
    samples = 0.1 * np.random.default_rng(k).standard_normal(3_200)
    return samples.astype(np.float32)


def test_a_flood_of_requests_waits_for_the_micro_turns_of_others(
    checkpoint: LoadedCheckpoint,
) -> None:
    """Between two ticks each client has one request carried out, and only so many wait."""
    engine = LiveEngine(RowBatch(checkpoint, 2), ServeConfig())
    (flooding, told), (steady, ear) = opened(engine), opened(engine)
    for _ in range(32):
        flooding.cancel("d9")
    with pytest.raises(ValueError, match="32 requests wait already; this one was not taken"):
        flooding.type_text("one")
    for k in range(10):
        steady.push_audio(noise(k))
        assert engine.step() == 1
        assert (len(told.problems), len(ear.reports)) == (k + 1, k + 1)
    assert "no delegation 'd9' is under way" in told.problems[0].message
    flooding.leave()
    engine.step()
    assert engine.health()["sessions"] == 1


class DelegatingBatch(RowBatch):
    """A model that delegates in its first row."""

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        outputs = super().step_rows(inputs)
        for row in outputs.keys() & {0}:
            outputs[row] = replace(outputs[row], tokens={"heard": [], "say": [DELEGATE]})
        return outputs


class BrokenAgent:
    """A background agent whose every call fails."""

    def submit(self, package: object, emit: object) -> NoReturn:
        raise RuntimeError("out of order")

    def close(self) -> None:
        return


def test_a_conversation_that_fails_fails_alone(
    checkpoint: LoadedCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    engine = LiveEngine(DelegatingBatch(checkpoint, 2), ServeConfig(), agent=BrokenAgent())
    (broken, told), (steady, ear) = opened(engine), opened(engine)
    for k in range(5):
        for session in (broken, steady):
            session.push_audio(noise(k))
        engine.step()
    assert [p.message for p in told.problems if p.fatal] == [
        "the conversation failed: out of order"
    ]
    assert "the conversation of s1 failed" in caplog.text
    alone = RowBatch(checkpoint, 1)
    for k, report in enumerate(ear.reports):
        expected = alone.step_rows({0: MicroTurnIn(audio=noise(k))})[0].audio
        assert np.array_equal(report.output.audio, expected)
    assert len(ear.reports) == 5
    assert not ear.problems
    assert engine.health()["sessions"] == 1
    opened(engine)  # its place is free
