"""Labels are compared with what the recorded agent does."""

from __future__ import annotations

import pytest

from microturn.datagen.dialogue.timeline import Event, Expect, Timeline
from microturn.datagen.labels.event_types import ACTS, SHIPPED
from microturn.datagen.report.check import faults_of_timeline

FAULTS = {
    "stay_silent": None,
    "stop": None,
    "resume": "is silent where it should go on",
    "respond": "says nothing in the window",
    "refuse": "says nothing in the window",
    "say": "says nothing in the window",
    "backchannel": "says nothing in the window",
    "delegate": "says nothing in the window",
}


def dialogue(act: str) -> Timeline:
    """Make a dialogue in which something is expected of the agent, which says nothing."""
    kind = next(kind for kind in SHIPPED if act in kind.acts)
    expect = Expect(act=act, text="five", window_samples=(10, 20))
    event = Event(type=kind.name, start_sample=0, end_sample=9, speaker="user", expect=expect)
    return Timeline(n_samples=100, events=[event])


@pytest.mark.parametrize("act", ACTS)
def test_every_act_is_checked_against_a_silent_agent(act: str) -> None:
    timeline, fault = dialogue(act), FAULTS[act]
    expected = [f"event {timeline.events[0].type} at 0: the agent {fault}"] if fault else []
    assert list(faults_of_timeline(timeline)) == expected


def test_an_act_without_a_check_is_refused() -> None:
    timeline = dialogue("respond")
    object.__setattr__(timeline.events[0].expect, "act", "sing")
    with pytest.raises(ValueError, match="expect.act='sing' cannot be checked; add it to"):
        list(faults_of_timeline(timeline))
