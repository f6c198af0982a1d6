"""Users who react: a run learns from them, and agents with a trick earn nothing of theirs."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.main import main
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import MicroTurn, Played
from microturn.datagen.live import LiveSource
from microturn.evaluation.agents.closed_loop import play, scored
from microturn.training.reinforce.config import RewardConfig
from microturn.training.reinforce.rewards import rewards_of

Words = Callable[..., list[str]]
FAMILIES = "only=[turn,interruption,user_backchannel,background]"
N_DIALOGUES = 8


@pytest.fixture(scope="module")
def source() -> LiveSource:
    return LiveSource.open(f"live:datagen/smoke.yaml split=test {FAMILIES}")


Answer = Callable[[int, MicroTurn], Played]  # of micro-turn k


def mean_reward(source: LiveSource, agent: Callable[[LiveSource, int], Answer]) -> float:
    totals = []
    for index in range(N_DIALOGUES):
        environment = Environment(source, index)
        answer, numbers = agent(source, index), count()
        episode = play(environment, partial(_answered, answer, numbers))
        totals.append(rewards_of(scored(episode, environment.source), RewardConfig()).total)
    return float(np.mean(totals))


def _answered(answer: Answer, numbers: Iterator[int], heard: MicroTurn) -> Played:
    return answer(next(numbers), heard)


def nothing(heard: MicroTurn) -> Played:
    return Played(audio=np.zeros_like(heard.audio))


def word(source: LiveSource, k: int, heard: MicroTurn) -> Played:
    """A word and noise."""
    noise = np.random.default_rng(k).standard_normal(len(heard.audio)).astype(np.float32)
    return Played(audio=0.1 * noise, say=source.tokenizer.encode("one")[:1])


def silent(source: LiveSource, index: int) -> Answer:
    return lambda k, heard: nothing(heard)


def always(source: LiveSource, index: int) -> Answer:
    return lambda k, heard: word(source, k, heard)


def nods(source: LiveSource, index: int) -> Answer:
    """A word every second, whatever is heard."""
    return lambda k, heard: nothing(heard) if k % 5 else word(source, k, heard)


def echo(source: LiveSource, index: int) -> Answer:
    say = source.tokenizer.encode("one")[:1]
    return lambda k, heard: Played(audio=heard.audio, say=say)


def oracle(source: LiveSource, index: int) -> Answer:
    made = Environment(source, index).recorded()
    return lambda k, heard: Played(audio=made[k].audio, say=made[k].say)


def deaf(source: LiveSource, index: int) -> Answer:
    """What is right in another conversation."""
    return oracle(source, index + 1)


def late(source: LiveSource, index: int) -> Answer:
    """All that is right, four seconds late: in time for those who ask again, and after that."""
    right = oracle(source, index)
    return lambda k, heard: right(k - 20, heard) if k >= 20 else nothing(heard)


def test_tricks_earn_nothing_of_users_who_react(source: LiveSource) -> None:
    best = mean_reward(source, oracle)
    assert best > 0.8
    assert mean_reward(source, late) < best / 4
    tricks = (silent, always, nods, echo, deaf)
    worth = {one.__name__: mean_reward(source, one) for one in tricks}
    assert {name: value for name, value in worth.items() if value > 0.0} == {}


def test_a_run_learns_from_users_who_react(words: Words, tmp_path: Path) -> None:
    live = f"environment=live:datagen/smoke.yaml n_micro_turns=40 {FAMILIES}"
    assert main(["reinforce", *words(tmp_path / "run", live, "max_steps=2")]) == 0
    header = (tmp_path / "run" / "log" / "metrics.csv").read_text().partition("\n")[0]
    assert "reward/turn" in header.split(",")


def test_users_that_cannot_react_are_refused(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = "only=[visual_count] layout.video_rows=2 layout.video_cols=2"
    live = f"environment=live:datagen/smoke.yaml {seen}"
    assert main(["reinforce", *words(tmp_path / "run", live)]) == 1
    assert "has no user that reacts" in capsys.readouterr().err
