"""Episodes of the closed loop under the scores of recorded dialogues."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Episode, MicroTurn, Output, Played
from microturn.datagen.live import LiveSource
from microturn.evaluation.agents.closed_loop import output_of, play, scored
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import (
    CueOutcome,
    DelegationOutcome,
    IdleOutcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    StopOutcome,
    TurnOutcome,
)

SILENT = Played(audio=np.zeros(3_200, np.float32))
N = 16


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LiveSource:
    cache = tmp_path_factory.mktemp("cache")
    return LiveSource.open(
        f"live:datagen/demo.yaml rooms.n_rooms=2 rooms.method=tail cache={cache}"
    )


def played(source: LiveSource, *, delay: int = 0, silent: bool = False) -> Iterator[Episode]:
    """Episodes of the planned agent, that much later, or of a silent one."""
    for index in range(N):
        environment = Environment(source, index)
        outputs = [SILENT] * delay + ([] if silent else environment.recorded())
        turns = iter(outputs)

        def answer(_: MicroTurn, turns: Iterator[Output] = turns) -> Output:
            return next(turns, SILENT)

        yield play(environment, answer)


def is_right(outcome: object) -> bool | None:
    match outcome:
        case TurnOutcome():
            return outcome.in_window and outcome.right is not False and not outcome.early
        case StopOutcome():
            return outcome.in_time
        case ResumeOutcome():
            return outcome.went_on
        case SilenceOutcome():
            return outcome.silent
        case CueOutcome():
            return outcome.in_window
        case DelegationOutcome():
            return outcome.delegated and bool(outcome.acknowledged)
        case ResultOutcome():
            return outcome.spoken
        case IdleOutcome():
            return outcome.n_spurious == 0 and outcome.n_false_delegates == 0
    return None


def test_the_planned_agent_does_everything_right(source: LiveSource) -> None:
    judged = [is_right(one) for episode in played(source) for one in score(scored(episode, source))]
    assert judged.count(True) > 60
    assert judged.count(False) == 0


def test_an_agent_may_be_late_once(source: LiveSource) -> None:
    """The user waits for it, so that what follows is in time: nothing is said against the plan."""
    outcomes = [
        one for episode in played(source, delay=3) for one in score(scored(episode, source))
    ]
    turns = [one for one in outcomes if isinstance(one, TurnOutcome)]
    late = [one for one in turns if one.latency_s is not None and one.latency_s >= 0.75]
    assert N / 4 < len(late) <= N
    assert sum(one.in_window for one in turns) >= len(turns) / 2
    goes_on = [one for one in outcomes if isinstance(one, ResumeOutcome)]
    assert goes_on
    assert all(one.speaking and one.went_on for one in goes_on)
    stops = [one for one in outcomes if isinstance(one, StopOutcome)]
    assert stops
    assert all(one.speaking and one.in_time for one in stops)


def test_a_silent_agent_answers_nothing_and_is_not_interrupted(source: LiveSource) -> None:
    for episode in played(source, silent=True):
        outcomes = score(scored(episode, source))
        assert not [one for one in outcomes if isinstance(one, StopOutcome | ResultOutcome)]
        assert not any(one.in_window for one in outcomes if isinstance(one, TurnOutcome))
        assert output_of(episode, source).words == ()
