"""Scenarios of other packages, found by their entry points in the group `microturn.scenarios`.

An entry point names a scenario class, or a module whose import registers some:

    [project.entry-points."microturn.scenarios"]
    quarrel = "my_package.quarrel:Quarrel"
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from microturn.datagen.dialogue.sides import is_pattern
from microturn.datagen.scenarios.base import REGISTRY, Scenario, Words, is_open, register
from microturn.datagen.scenarios.vocabulary import KINDS, Questions

if TYPE_CHECKING:
    from microturn.datagen.config import DatagenConfig
    from microturn.datagen.dialogue.units import UnitBank

GROUP: Final = "microturn.scenarios"


def load_plugins() -> None:
    """Register the scenarios of every installed package; those already known stay as they are."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            scenario = point.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"the scenario {point.name!r} of {_package(point)} cannot be loaded from "
                f"{point.value} ({error}); mend or uninstall that package"
            ) from error
        if isinstance(scenario, type):
            if not (
                isinstance(getattr(scenario, "name", None), str) and hasattr(scenario, "build")
            ):
                raise ValueError(
                    f"the scenario {point.name!r} of {_package(point)} is {point.value}, a class "
                    "without `name` and `build`"
                )
            register(scenario)


def words_of(config: DatagenConfig, bank: UnitBank) -> Words:
    """What the scenarios of this configuration need to be recorded, all together."""
    agent: dict[str, None] = {}
    user: dict[str, None] = {}
    texts: dict[str, None] = {}
    for scenario in scenarios_of(config):
        needed = needed_words(scenario, config, bank)
        agent.update(dict.fromkeys(needed.agent))
        user.update(dict.fromkeys(needed.user))
        texts.update(dict.fromkeys(needed.texts))
    return Words(agent=tuple(agent), user=tuple(user), texts=tuple(texts))


def needed_words(scenario: Scenario, config: DatagenConfig, bank: UnitBank) -> Words:
    """What one scenario needs: its own words, and those of the questions that it draws."""
    kinds, questions = getattr(scenario, "asks", KINDS), Questions(config.vocabulary)
    own = scenario.words(config, bank) if hasattr(scenario, "words") else Words()
    return Words(
        agent=(*questions.agent_words(kinds), *own.agent),
        user=(*questions.user_words(kinds), *own.user),
        texts=own.texts,
    )


def require_words(config: DatagenConfig, bank: UnitBank) -> None:
    """Raise ValueError for all words that the scenarios with a weight need and nobody recorded."""
    lacking: dict[str, dict[str, None]] = {}
    families = []
    closed = [scenario.name for scenario in scenarios_of(config) if not is_open(scenario)]
    if closed and is_pattern(config.voices.agent):
        raise ValueError(
            f"families.{closed[0]} needs voices.agent to be the one speaker who has recorded its "
            f"words, not {config.voices.agent!r}; set its weight to 0 or name a speaker"
        )
    for scenario in scenarios_of(config):
        needed = needed_words(scenario, config, bank)
        found = bank.lacking(agent=needed.agent, user=needed.user)
        for voice, words in found.items():
            lacking.setdefault(voice, {}).update(dict.fromkeys(words))
        families += [scenario.name] if found else []
    if lacking:
        parts = [f"{', '.join(map(repr, words))} by {voice}" for voice, words in lacking.items()]
        raise ValueError(
            f"{bank.corpus.name} has no recording of {' and of '.join(parts)}, needed by "
            f"families.{', families.'.join(families)}; take the words out of the configuration, "
            "set these weights to 0, or add a corpus that has them"
        )


def scenarios_of(config: DatagenConfig) -> list[Scenario]:
    """The scenarios that have a weight; raises ValueError for an unknown name."""
    load_plugins()
    named: dict[str, Iterable[str]] = {"families.": config.families, "only=": config.only}
    for key, names in named.items():
        unknown = sorted(set(names) - set(REGISTRY))
        if unknown:
            raise ValueError(
                f"{key}{unknown[0]} is no scenario; known are {', '.join(sorted(REGISTRY))}"
            )
    return [REGISTRY[name] for name in config.weights]


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"
