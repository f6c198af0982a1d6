"""A scenario of another package, installed as a distribution with an entry point."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.datagen.config import DatagenConfig
from microturn.datagen.labels.event_types import EVENT_TYPES, event_type
from microturn.datagen.pipeline import Simulator
from microturn.datagen.scenarios import REGISTRY

Build = Callable[[DatagenConfig], Simulator]

CODE = '''
"""The user says hello twice; the agent answers once."""
from microturn.datagen.scenarios import Span, SegmentBuilder, Words


class TwoHellos:
    name = "two_hellos"

    def words(self, config, bank):
        return Words(agent=("hello world",), user=("hello",))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        spans = segment.recite(("hello", "hello"), start)
        asked = Span(start_sample=start, end_sample=spans[-1].end_sample, text="hello hello")
        segment.react(asked, ("hello world",), event="turn")
'''

EVENT_CODE = '''
"""Two people quarrel beside the microphone: a type of event that only this package knows."""
from microturn.datagen.scenarios import EventType, SegmentBuilder, Span, register_event_type

QUARREL = register_event_type(
    EventType(
        name="quarrel",
        suite="quarrel",
        acts=("stay_silent",),
        colour="#aa3377",
        meaning="two people quarrel beside the microphone",
    )
)


class Quarrel:
    name = "quarrel"

    def build(self, segment: SegmentBuilder, start: int) -> None:
        spans = segment.recite(("hello", "hello"), start)
        quarrel = Span(start_sample=start, end_sample=spans[-1].end_sample, text="hello hello")
        window = (start, quarrel.end_sample)
        segment.user_event(QUARREL.name, quarrel, "stay_silent", window)
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages; what it brings is forgotten afterwards."""
    before, types = dict(REGISTRY), dict(EVENT_TYPES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    REGISTRY.clear()
    REGISTRY.update(before)
    EVENT_TYPES.clear()
    EVENT_TYPES.update(types)
    sys.modules.pop("hello_scenarios", None)


def install(site: Path, entry: str, code: str = CODE) -> None:
    """What pip leaves behind of a tiny package."""
    (site / "hello_scenarios.py").write_text(code)
    info = site / "hello_scenarios-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hello-scenarios\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[microturn.scenarios]\n{entry}\n")


def test_a_scenario_of_another_package_is_found_and_used(
    site: Path, config: DatagenConfig, simulator_for: Build
) -> None:
    install(site, "two_hellos = hello_scenarios:TwoHellos")
    simulator = simulator_for(replace(config, families={"two_hellos": 1.0}))
    script, families, _ = simulator.script(simulator.recipe(0))
    assert set(families) == {"two_hellos"}
    assert {word.text for word in script.timeline.agent} == {"hello", "world"}
    simulator_for(replace(config, families={"two_hellos": 1.0}))  # found twice, registered once


def test_a_scenario_of_another_package_brings_a_type_of_event(
    site: Path, config: DatagenConfig, simulator_for: Build
) -> None:
    install(site, "quarrel = hello_scenarios:Quarrel", EVENT_CODE)
    simulator = simulator_for(replace(config, families={"quarrel": 1.0}))
    labels = simulator.labels(simulator.dialogue(0))
    assert "quarrel" in {event.type for event in labels.events}
    assert labels.event_types == (event_type("quarrel"),)  # so that others can read the set
    assert event_type("quarrel").suite == "quarrel"
    assert event_type("quarrel").colour == "#aa3377"


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        ("x = hello_scenarios:Missing", CODE, "scenario 'x' of hello-scenarios cannot be loaded"),
        ("x = hello_scenarios", "import no_such_module_here", "cannot be loaded .*no_such_module"),
        ("x = hello_scenarios:Bare", "class Bare: pass", "a class without `name` and `build`"),
        (
            "x = hello_scenarios:TwoHellos",
            CODE.replace('"two_hellos"', '"turn"'),
            "two scenarios are called 'turn': .*TurnScenario and hello_scenarios.TwoHellos",
        ),
    ],
)
def test_a_faulty_package_is_named(
    site: Path,
    config: DatagenConfig,
    simulator_for: Build,
    entry: str,
    code: str,
    message: str,
) -> None:
    install(site, entry, code)
    with pytest.raises(ValueError, match=message):
        simulator_for(config)


def test_the_scenarios_that_ship_need_no_package() -> None:
    code = "import microturn.datagen.scenarios as s; print(len(s.REGISTRY))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 17
