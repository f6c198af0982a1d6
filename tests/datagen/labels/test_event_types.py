"""Event types: what may happen, what it may ask, and the table of it in the docs."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import (
    EVENT_TYPES,
    SUITE_ACTS,
    EventType,
    event_type,
    plugin_types,
    register_event_type,
)

DOCS = Path(__file__).parents[3] / "docs"


def quarrel(suite: str = "quarrel", *, colour: str = "#aa3377") -> EventType:
    return EventType(
        name="quarrel", suite=suite, acts=("stay_silent",), colour=colour, meaning="a quarrel"
    )


@pytest.fixture
def table() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = dict(EVENT_TYPES)
    yield
    EVENT_TYPES.clear()
    EVENT_TYPES.update(before)


def test_an_event_of_an_unknown_type_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="no event type 'tunr'; did you mean 'turn'.*known: turn"):
        Event(type="tunr", start_sample=0, end_sample=1, speaker="user")


def test_an_event_refuses_an_act_that_its_type_does_not_allow() -> None:
    expect = Expect(act="say", window_samples=(0, 1))
    with pytest.raises(ValueError, match="type 'turn' cannot expect 'say', only respond"):
        Event(type="turn", start_sample=0, end_sample=1, speaker="user", expect=expect)


def test_a_type_is_registered_once(table: None) -> None:
    register_event_type(quarrel())
    register_event_type(quarrel())
    assert event_type("quarrel").suite == "quarrel"
    with pytest.raises(ValueError, match="two event types are called 'quarrel'"):
        register_event_type(quarrel(colour="#000000"))


def test_only_types_that_did_not_ship_are_stored_with_a_dialogue(table: None) -> None:
    kind = register_event_type(quarrel())
    assert plugin_types({"turn", "quarrel"}) == (kind,)


def test_a_type_asks_only_for_what_its_suite_can_judge() -> None:
    with pytest.raises(ValueError, match="suite 'recall' cannot judge 'stay_silent', only respond"):
        quarrel("recall")
    with pytest.raises(ValueError, match="act 'sing' is not one of respond"):
        EventType(name="x", suite="x", acts=("sing",), colour="", meaning="")


def test_every_type_that_ships_has_a_suite_that_judges_its_acts() -> None:
    assert {kind.suite for kind in EVENT_TYPES.values()} == set(SUITE_ACTS)
    assert len({kind.colour for kind in EVENT_TYPES.values()}) == len(EVENT_TYPES)
    assert [n for n, kind in EVENT_TYPES.items() if not kind.takes_turn] == [
        "user_backchannel",
        "agent_backchannel",
        "vocal_tic",
    ]


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    script = runpy.run_path(str(DOCS / "make_event_table.py"))
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    assert script["updated"](page) == page, "stale: run python docs/make_event_table.py"
