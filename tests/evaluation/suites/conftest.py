"""Small held-out sets of real suites, made once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microturn.evaluation.agents.baselines import baseline
from microturn.evaluation.agents.panel import of_concern
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.suite import Measured
from support.panel import played_by_all

Numbers = dict[str, Measured]  # by agent


@pytest.fixture(scope="session")
def suite_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where rooms and sets are kept: the rooms are those of every suite."""
    return tmp_path_factory.mktemp("suites")


@pytest.fixture(scope="session")
def held_out(suite_cache: Path) -> Callable[[str, int], list[HeldOutDialogue]]:
    """The first dialogues of a suite."""
    known: dict[tuple[str, int], list[HeldOutDialogue]] = {}

    def read(name: str, n: int) -> list[HeldOutDialogue]:
        if (name, n) not in known:
            found = held_out_set(load_suite(name), suite_cache, n_dialogues=n, workers=1)
            known[name, n] = list(found.read())
        return known[name, n]

    return read


@pytest.fixture(scope="session")
def numbers_of(
    held_out: Callable[[str, int], list[HeldOutDialogue]], measure_suite: Any
) -> Callable[[str, int], Numbers]:
    """What `silent`, `always` and `oracle` get on the first dialogues of a suite."""

    def measure(name: str, n: int) -> Numbers:
        samples = held_out(name, n)
        agents = {
            agent: baseline(agent, lambda: iter(samples), config=ActivityConfig())
            for agent in ("silent", "always", "oracle")
        }
        suite = load_suite(name)
        return {agent: measure_suite(suite, player, samples) for agent, player in agents.items()}

    return measure


@pytest.fixture(scope="session")
def below_the_line(
    held_out: Callable[[str, int], list[HeldOutDialogue]],
) -> Callable[[str, int], None]:
    """Assert that the oracle reaches full credit, and no member of the panel the suite's line."""

    def check(name: str, n: int) -> None:
        suite, found = load_suite(name), {}
        for member, scenes in played_by_all(held_out(name, n)):
            credit = suite.measure([suite.observe(scene) for scene in scenes])[suite.headline]
            if member == "oracle":
                assert credit is not None
                assert credit >= (0.85 if suite.oracle_note else 1.0 - 1e-9), credit
            elif of_concern(member, name) and (credit or 0.0) >= suite.floor:
                found[member] = credit
        assert not found, f"{name}: line {suite.floor}"

    return check
