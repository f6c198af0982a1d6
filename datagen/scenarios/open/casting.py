"""Draws who speaks in a dialogue of open speech.

The first drawn family decides who may be the agent; the families that this agent cannot play are
left out of the dialogue. Everything is drawn from purposes of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.cast import Cast
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.sides import ANYBODY
from microturn.datagen.dialogue.variants import Variants
from microturn.datagen.scenarios.base import OpenScenario, is_open
from microturn.datagen.scenarios.plugins import scenarios_of

SHOWN: Final = 8  # names in a message


def has_open(config: DatagenConfig) -> bool:
    """Whether a configuration draws a scenario of open speech."""
    return any(is_open(scenario) for scenario in scenarios_of(config))


class Casting:
    """Who can be the agent of each family; refuses a family that nobody can play."""

    def __init__(self, config: DatagenConfig, sources: OpenSources) -> None:
        self._sources = sources
        self._agents: dict[str, dict[str, float]] = {}
        scenarios = scenarios_of(config)
        self._has_closed = not all(is_open(scenario) for scenario in scenarios)
        for scenario in scenarios:
            if is_open(scenario):
                self._agents[scenario.name] = _agents_of(scenario, sources)

    def cast(self, recipe: Recipe, variants: Variants) -> Recipe:
        """Return the recipe with its agent and its user; without open families as it is."""
        open_families = [name for name in recipe.families if name in self._agents]
        if not open_families:
            return recipe
        weights, rng = self._agents[open_families[0]], recipe.rng("agent voice")
        names = tuple(weights)
        share = np.array([weights[name] for name in names])
        agent = names[int(rng.choice(len(names), p=share / share.sum()))]
        rng = recipe.rng("user voice")
        partners = self._sources.speech.partners(agent) or (agent,)
        user = partners[int(rng.integers(len(partners)))]
        variant = variants.of_other(rng)
        return replace(
            recipe,
            families=tuple(
                name for name in recipe.families if agent in self._agents.get(name, {agent: 1.0})
            ),
            voice=recipe.voice if self._has_closed else user + variant,
            cast=Cast(agent=agent, user=user, variant=variant),
        )


def _agents_of(scenario: OpenScenario, sources: OpenSources) -> dict[str, float]:
    agents = {name: weight for name, weight in scenario.agents(sources).items() if weight > 0}
    if not agents:
        config = sources.config
        raise ValueError(
            f"families.{scenario.name}: nobody of voices.agent={config.voices.agent!r} has what it "
            f"needs in corpus={config.corpus or 'default'} for split={config.split}: "
            f"{scenario.needs}; {_remedy(scenario, sources)}"
        )
    return dict(sorted(agents.items()))


def _remedy(scenario: OpenScenario, sources: OpenSources) -> str:
    """What to do where nobody of `voices.agent` can be the agent of a family."""
    could = scenario.agents(sources.of_anybody())
    others = sorted(name for name, weight in could.items() if weight > 0)
    if not others:
        return "set its weight to 0 or add a corpus"
    shown = f"{', '.join(others[:SHOWN])}{', ...' if len(others) > SHOWN else ''}"
    return f"give voices.agent={ANYBODY}, or one of those who have: {shown}"
