"""Suites played to agents: facts of every dialogue, then numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from microturn.evaluation.agents.baselines import Agent
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.suite import Measured, Observations, Suite


def facts_of(suite: Suite, agent: Agent, samples: Iterable[HeldOutDialogue]) -> list[Observations]:
    """What an agent did in each of the dialogues."""
    activity, windows = ActivityConfig(), WindowConfig()
    played = list(samples)
    return [
        suite.observe(
            ScoredDialogue(
                sample.dialogue,
                Trace.of(performance, activity, late=sample.load_late()),
                windows,
            )
        )
        for sample, performance in zip(played, agent.perform(played), strict=True)
    ]


def measure_agents(
    suite: Suite, agents: Mapping[str, Agent], samples: Sequence[HeldOutDialogue]
) -> dict[str, Measured]:
    """The metrics of each agent on a suite's dialogues."""
    return {
        name: suite.check(suite.measure(facts_of(suite, agent, samples)))
        for name, agent in agents.items()
    }
