"""Every event is scored in the suite of its type, and in no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import (
    ACTS,
    EVENT_TYPES,
    SUITE_ACTS,
    EventType,
    register_event_type,
)
from microturn.evaluation.scoring.contributions import contributions_of
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import (
    BackchannelOutcome,
    CueOutcome,
    DelegationOutcome,
    Outcome,
    ResumeOutcome,
    SilenceOutcome,
    StopOutcome,
)
from microturn.evaluation.scoring.restraint import CREDIT
from microturn.evaluation.suites.event_metrics import EventMetrics
from microturn.evaluation.suites.event_suites import event_suites, score_events
from support.hand_made import HandMadeDialogue

WINDOW = {"stay_silent": (2.0, 3.0), "resume": (2.0, 3.0)}
JUDGED = [(kind.name, act) for kind in EVENT_TYPES.values() for act in kind.acts]


@pytest.fixture
def quarrel() -> Iterator[EventType]:
    """A type of a suite that did not ship, which may expect anything."""
    before = dict(EVENT_TYPES)
    yield register_event_type(
        EventType(name="quarrel", suite="quarrel", acts=ACTS, colour="#aa3377", meaning="a quarrel")
    )
    EVENT_TYPES.clear()
    EVENT_TYPES.update(before)


def suites_of(script: HandMadeDialogue) -> set[str]:
    """Suites to which the outcomes of the recorded agent contribute."""
    outcomes = score(script.scene(script.recorded()))
    found = [c for outcome in outcomes for c in contributions_of(outcome)]
    return {c.suite for c in found if c.metric != CREDIT} - {"overall"}


def metrics_by_name(script: HandMadeDialogue) -> dict[str, float]:
    outcomes = score(script.scene(script.recorded()))
    found = [c for outcome in outcomes for c in contributions_of(outcome)]
    return {
        f"{c.suite}.{c.metric}": c.value
        for c in found
        if c.suite != "overall" and c.metric != CREDIT
    }


@pytest.mark.parametrize(("kind", "act"), JUDGED)
def test_each_type_with_each_of_its_acts_is_scored_in_its_suite(
    script: HandMadeDialogue, kind: str, act: str
) -> None:
    script.event(kind, 2.0, 3.0, act, answer="five", window=WINDOW.get(act, (3.0, 3.8)))
    if kind == "result":
        script.event("delegation", 0.5, 1.0, "delegate")
    also = {"turn"} if act in ("respond", "refuse") else set()
    assert suites_of(script) == {EVENT_TYPES[kind].suite} | also


def test_the_filler_of_an_errand_is_delegation_and_no_timed_cue(script: HandMadeDialogue) -> None:
    script.event("delegation", 5.0, 5.0, "say", answer="patience", window=(4.8, 6.0))
    script.says("patience", 5.1)
    assert metrics_by_name(script) == {"delegation.filler_in_window": 1.0}


def test_a_filler_that_is_not_said_is_a_miss_of_delegation(script: HandMadeDialogue) -> None:
    script.event("delegation", 5.0, 5.0, "say", answer="patience", window=(4.8, 6.0))
    assert metrics_by_name(script) == {"delegation.filler_in_window": 0.0}


@pytest.mark.parametrize(
    ("act", "value"),
    [
        ("stay_silent", 1.0),
        *((act, 0.0) for act in ACTS if act != "stay_silent"),
    ],
)
def test_a_type_of_another_package_is_scored_in_its_own_suite_only(
    script: HandMadeDialogue, quarrel: EventType, act: str, value: float
) -> None:
    script.event("quarrel", 2.0, 3.0, act, answer="five", window=(2.0, 3.0))
    assert metrics_by_name(script) == {"quarrel.as_expected": value}


def test_a_suite_of_another_package_is_reported(
    script: HandMadeDialogue, quarrel: EventType
) -> None:
    script.event("quarrel", 2.0, 3.0, "stay_silent", window=(2.0, 3.0))
    scores = score_events([score(script.scene(script.recorded()))], seed=0)
    assert list(scores) == [*SUITE_ACTS, "quarrel", "overall"]
    assert (scores["quarrel"].headline.value, scores["quarrel"].asks) == (1.0, "a quarrel")
    assert scores["overall"].headline.value == 1.0


def test_every_suite_of_the_table_has_metrics() -> None:
    assert set(SUITE_ACTS) == set(event_suites()) - {"overall"}


@pytest.mark.parametrize("act", ["respond", "refuse"])
def test_an_answer_of_another_package_to_an_interruption_is_scored_in_its_own_suite_only(
    script: HandMadeDialogue, quarrel: EventType, act: str
) -> None:
    script.event("interruption", 2.0, 3.0, "stop")
    script.event("quarrel", 2.0, 3.0, act, answer="five")
    contributions = metrics_by_name(script)
    assert contributions.pop("quarrel.as_expected") == 0.0
    assert "interruption.answered_after" not in contributions
    assert {name.split(".")[0] for name in contributions} == {"interruption"}


def test_an_answer_to_an_interruption_of_another_package_is_none_of_the_shipped_suite(
    script: HandMadeDialogue, quarrel: EventType
) -> None:
    script.event("quarrel", 2.0, 3.0, "stop")
    script.event("turn", 2.0, 3.0, "respond", answer="five")
    assert suites_of(script) == {"turn", "quarrel"}


UNMEASURED = (
    StopOutcome(speaking=True, latency_s=None, in_time=False, trigger="turn"),
    ResumeOutcome(trigger="turn", speaking=True, longest_gap_s=0.0, words_right=True, went_on=True),
    SilenceOutcome(trigger="recall", speech_s=0.0, silent=True),
    CueOutcome(onset_s=None, right=False, in_window=False, trigger="turn"),
    BackchannelOutcome(onset_s=None, given=False, right=False, trigger="turn"),
    DelegationOutcome(latency_s=None, delegated=False, acknowledged=None, trigger="turn"),
)


@pytest.mark.parametrize("outcome", UNMEASURED)
def test_an_outcome_without_a_metric_of_its_shipped_suite_is_refused(outcome: Outcome) -> None:
    message = f"has no metric for a {type(outcome).__name__}; add it to"
    with pytest.raises(ValueError, match=message):
        list(contributions_of(outcome))


def test_a_contribution_to_a_metric_without_a_meaning_is_refused() -> None:
    metrics = EventMetrics(suite="background", metrics=(CREDIT, "silent", "went_on"))
    outcome = SilenceOutcome(trigger="noise", speech_s=0.0, silent=True)
    with pytest.raises(ValueError, match="no metric 'undisturbed', only credit, silent, went_on"):
        metrics.observation([outcome])


def test_an_act_without_a_score_is_refused(
    script: HandMadeDialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.event("turn", 2.0, 3.0, "respond", answer="five")
    monkeypatch.setattr(EventLabel, "act", property(lambda event: "sing"))
    with pytest.raises(ValueError, match="event turn at 2.00 s expects 'sing', which has no score"):
        score(script.scene(script.perform()))
