"""The closed loop behind the interface of Gymnasium."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Episode
from microturn.datagen.live import LiveSource

gymnasium = pytest.importorskip("gymnasium")


def n_events(episode: Episode) -> float:
    return float(len(episode.labels.events))


def test_gymnasium_accepts_it(demo: LiveSource) -> None:
    from gymnasium.utils.env_checker import check_env

    from microturn.datagen.closed_loop.gym import ClosedLoopEnv

    check_env(ClosedLoopEnv(demo, range(20), n_events), skip_render_check=True)


def test_an_episode_is_that_of_the_environment(demo: LiveSource) -> None:
    from microturn.datagen.closed_loop.gym import ClosedLoopEnv

    env = ClosedLoopEnv(demo, range(20), n_events)
    planned = Environment(demo, 5)
    observation, info = env.reset(options={"index": 5})
    heard = planned.reset()
    assert info == {"index": 5}
    rewards, ends = [], []
    for output in planned.recorded():
        assert np.array_equal(observation["audio"], heard.audio)
        assert [i for i in observation["text_in"] if i] == [*heard.text_in]
        say = np.zeros(env.action_space["say"].shape, np.int64)
        say[: len(output.say)] = output.say[: len(say)]
        observation, reward, terminated, truncated, _ = env.step(
            {"audio": output.audio, "say": say}
        )
        heard, _, _ = planned.step(output)
        rewards.append(reward)
        ends.append(terminated)
        assert not truncated
    assert ends == [False] * (len(ends) - 1) + [True]
    assert rewards == [0.0] * (len(rewards) - 1) + [n_events(env.episode())]


def test_the_dialogue_is_drawn_by_the_seed(demo: LiveSource) -> None:
    from microturn.datagen.closed_loop.gym import ClosedLoopEnv

    env = ClosedLoopEnv(demo, range(100, 200), n_events)
    drawn = [env.reset(seed=seed)[1]["index"] for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert all(100 <= index < 200 for index in drawn)
    with pytest.raises(ValueError, match="indices"):
        ClosedLoopEnv(demo, [], n_events)
