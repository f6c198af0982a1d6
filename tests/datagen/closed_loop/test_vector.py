"""Environments together: the same bytes alone, among others and in other processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Played
from microturn.datagen.closed_loop.vector import VectorEnvironment
from microturn.datagen.live import LiveSource
from microturn.model.streams.pcm import Audio

INDICES = [4, 1, 4]
BLOCK = 3_200


def outputs(number: int, n: int) -> Iterator[Played]:
    """An agent of its own for every environment: bursts of noise, and a token now and then."""
    rng = np.random.default_rng(number)
    for _ in range(n):
        loud = np.float32(rng.random() < 0.4)
        audio = (loud * 0.1 * rng.standard_normal(BLOCK)).astype(np.float32)
        yield Played(audio=audio, say=[2] if rng.random() < 0.05 else [])


def alone(source: LiveSource, number: int) -> tuple[Audio, object]:
    environment = Environment(source, INDICES[number])
    heard = [environment.reset().audio]
    for output in outputs(number, source.n_micro_turns - 1):
        heard.append(environment.step(output)[0].audio)
    return np.concatenate(heard), environment.timeline()


@pytest.mark.parametrize("workers", [1, 2])
def test_environments_together_hear_what_each_hears_alone(demo: LiveSource, workers: int) -> None:
    agents = [outputs(number, demo.n_micro_turns - 1) for number in range(len(INDICES))]
    with VectorEnvironment(demo, INDICES, workers=workers) as environments:
        heard = [[one.audio] for one in environments.reset()]
        for _ in range(demo.n_micro_turns - 1):
            steps = environments.step([next(agent) for agent in agents])
            for sound, step in zip(heard, steps, strict=True):
                sound.append(step.heard.audio)
        assert all(step.done for step in steps)
        episodes = environments.episodes()
        for number in range(len(INDICES)):
            sound, timeline = alone(demo, number)
            assert np.array_equal(np.concatenate(heard[number]), sound)
            seconds = timeline.labels(demo.layout.sample_rate)  # type: ignore[attr-defined]
            assert episodes[number].labels.events == seconds.events
        (fresh,) = environments.reset({1: 7})
        assert np.array_equal(fresh.audio, Environment(demo, 7).reset().audio)
        (step,) = environments.step({1: Played(audio=np.zeros(BLOCK, np.float32))})
        assert not step.done
        with pytest.raises(ValueError, match="over"):
            environments.step({0: Played(audio=np.zeros(BLOCK, np.float32))})
        with pytest.raises(ValueError, match="no environment 3"):
            environments.reset({3: 0})
        with pytest.raises(ValueError, match="2 agents play in 3"):
            environments.step([step.heard, step.heard])  # type: ignore[list-item]
