"""Every suite by name; a module is imported when one of its suites is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from microturn.evaluation.suites.credit import with_restraint
from microturn.evaluation.suites.event_suites import event_suites
from microturn.evaluation.suites.suite import Suite

# Suites with a module of their own, which holds it as SUITE. They are played when none is named.
MODULES: Final[dict[str, str]] = {
    "fdb_v1": "fdb.v1",
    "fdb_v1_5": "fdb.v1_5",
    "fdb_v3": "fdb.v3",
    "multi_challenge": "multi_challenge",
    "time_speak": "time_speak",
    "cue_speak": "cue_speak",
    "rep_count": "rep_count",
    "proactive_video_qa": "proactive_video_qa",
    "charades": "charades",
    "translation": "translation",
    "interjection": "interjection",
    "refusal": "refusal",
    "silence": "conditions.silence",
    "echo": "conditions.echo",
    "network": "conditions.network",
    "long_session": "conditions.long_session",
    "people": "conditions.people",
    "tau_voice": "tau_voice",
    "open_turns": "open.turns",
    "open_transcript": "open.transcript",
    "read_aloud": "open.read_aloud",
}
# Suites that are played only when they are named: their sets need corpora that do not ship.
NAMED: Final[dict[str, str]] = {"people_many": "conditions.people_many"}
WITH_MODULE: Final[dict[str, str]] = {**MODULES, **NAMED}


def known_suites() -> tuple[str, ...]:
    """Names of all suites: those with a module, then those of events."""
    return (*WITH_MODULE, *event_suites())


def suites_of_any_set() -> tuple[str, ...]:
    """Names of the suites that can score any set: those of events, and tau-voice's measures."""
    return (*event_suites(), "tau_voice")


def suites_of_recorded_sets() -> tuple[str, ...]:
    """Names of the suites that can score any set of recorded dialogues; one listens for speech."""
    return (*suites_of_any_set(), "open_turns")


def load_suite(name: str) -> Suite:
    """The suite of that name; raises ValueError for an unknown one."""
    if name in WITH_MODULE:
        suite: Suite = import_module(f"microturn.evaluation.suites.{WITH_MODULE[name]}").SUITE
        return with_restraint(suite)
    suites = event_suites()
    if name not in suites:
        raise ValueError(f"suite {name!r} is not one of {', '.join(known_suites())}")
    return suites[name]
