"""Fixtures of hand-made dialogues, and of suites that are played in this process."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from microturn.evaluation.agents.baselines import Agent
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.silero import speech_spans
from microturn.evaluation.speech.voice import AgentVoice
from microturn.evaluation.suites.suite import Measured, Observations, Suite
from support.hand_made import HandMadeDialogue, WriteSet, all_families, rarer, write_shard_set


@pytest.fixture
def rare() -> HandMadeDialogue:
    return rarer()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which tests share simulated suites."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def script() -> HandMadeDialogue:
    return HandMadeDialogue()


@pytest.fixture
def families() -> list[HandMadeDialogue]:
    return all_families()


# --- suites played in this process ---------------------------------------------------------------
Observe = Callable[[Suite, Agent, Iterable[HeldOutDialogue]], list[Observations]]


def observe_agent(
    suite: Suite, agent: Agent, dialogues: Iterable[HeldOutDialogue]
) -> list[Observations]:
    """Observations of an agent in each of the dialogues, listened to as `evaluate` does."""
    played, activity = list(dialogues), ActivityConfig()
    voice = voice_of(played)
    return [
        suite.observe(
            ScoredDialogue(
                dialogue.dialogue,
                Trace.of(
                    output,
                    activity,
                    sounds=voice.listen(output),
                    missing_input=dialogue.load_missing_input(),
                    speech=speech_spans(output.audio, output.sample_rate),
                ),
                WindowConfig(),
            )
        )
        for dialogue, output in zip(played, agent.perform(played), strict=True)
    ]


_VOICES: dict[int, tuple[HeldOutDialogue, AgentVoice]] = {}


def voice_of(dialogues: list[HeldOutDialogue]) -> AgentVoice:
    """The voice of a set, learnt once; the set is known by its first dialogue."""
    first = dialogues[0]
    if id(first) not in _VOICES:
        _VOICES[id(first)] = first, AgentVoice.of(dialogues, ActivityConfig())
    return _VOICES[id(first)][1]


@pytest.fixture(scope="session")
def observe_suite() -> Observe:
    return observe_agent


@pytest.fixture(scope="session")
def measure_suite() -> Callable[[Suite, Agent, Iterable[HeldOutDialogue]], Measured]:
    """Metrics of an agent on a suite's dialogues."""
    return lambda suite, agent, dialogues: suite.check(
        suite.measure(observe_agent(suite, agent, dialogues))
    )


@pytest.fixture(scope="session")
def write_set() -> WriteSet:
    return write_shard_set


@pytest.fixture(scope="session")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family, twice."""
    folder = tmp_path_factory.mktemp("data") / "set"
    return write_shard_set(folder, [*all_families(), *all_families()])
