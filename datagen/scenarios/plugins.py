"""Scenarios of other packages, found by their entry points in the group `microturn.scenarios`.

An entry point names a scenario class, or a module whose import registers some:

    [project.entry-points."microturn.scenarios"]
    quarrel = "my_package.quarrel:Quarrel"
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from microturn.datagen.scenarios.base import REGISTRY, Scenario, Words, register

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
        words = getattr(scenario, "words", None)
        if words is not None:
            needed: Words = words(config, bank)
            agent.update(dict.fromkeys(needed.agent))
            user.update(dict.fromkeys(needed.user))
            texts.update(dict.fromkeys(needed.texts))
    return Words(agent=tuple(agent), user=tuple(user), texts=tuple(texts))


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
