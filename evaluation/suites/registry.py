"""Every benchmark that ships: its name, and the module that holds it as `SUITE`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from microturn.evaluation.suites import event_suites as events
from microturn.evaluation.suites.suite import Suite

_HERE: Final = "microturn.evaluation.suites"

MODULES: Final[dict[str, str]] = {
    name: f"{_HERE}.{name}"
    for name in (
        "fdb_v1",
        "fdb_v1_5",
        "fdb_v3",
        "multi_challenge",
        "time_speak",
        "cue_speak",
        "rep_count",
        "proactive_video_qa",
        "charades",
        "translation",
        "interjection",
        "refusal",
        "silence",
        "echo",
        "network",
        "long_session",
    )
}


def load_suite(name: str) -> Suite:
    """The suite of that name; raises ValueError for an unknown one."""
    if name in events.NAMES:
        return events.suite_of(name)
    if name not in MODULES:
        known = ", ".join([*MODULES, *events.NAMES])
        raise ValueError(f"suite {name!r} is not one of {known}")
    suite: Suite = import_module(MODULES[name]).SUITE
    return suite
