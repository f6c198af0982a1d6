"""The contributions of an event's outcome to the metrics of its suite.

The suite of an event is that of its type (`datagen/labels/event_types.py`). A suite that a
scenario of another package brings has one metric: the share of events handled as expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from microturn.datagen.labels.event_types import RESULT, SUITE_ACTS, event_type
from microturn.evaluation.scoring.outcomes import (
    BackchannelOutcome,
    CueOutcome,
    DelegationOutcome,
    EventOutcome,
    HeardOutcome,
    IdleOutcome,
    Outcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    SoundOutcome,
    StopOutcome,
    TurnOutcome,
    UnsureOutcome,
)
from microturn.evaluation.scoring.restraint import CREDIT

AS_EXPECTED: Final = "as_expected"  # the metric of suites that did not ship
# Suites that ask for one of two opposite things: `credit` tells how well both are told apart.
TWO_SIDED: Final = frozenset(
    ("interruption", "user_backchannel", "background", "agent_backchannel", "refusals")
)
# Suites whose answers to what the user says also count as answered turns, in the suite `turn`.
_SUITES_OF_TURNS: Final = ("turn", "recall", "refusals")
_SILENCE_METRICS: Final = {  # of an event that asks for silence, by its suite
    "turn": ("silent_in_pauses",),
    "background": ("silent", "undisturbed"),
    "timed_cue": ("silent_after_stop",),
    "over_user": ("silent_without_cause",),
    "visual": ("silent_unasked",),
}


@dataclass(frozen=True, kw_only=True)
class MetricContribution:
    """One contribution to one metric: a part of a share, or a value of a median."""

    suite: str
    metric: str
    value: float
    weight: float = 1.0  # denominator of a share
    median: bool = False
    n: int = 1  # events that it stands for
    side: int = 0  # of a suite that asks for opposite things; 1: the other one


_Contributions = Iterator[MetricContribution]


def contributions_of(outcome: Outcome) -> _Contributions:
    """Yield the contributions of one outcome."""
    yield from _CONTRIBUTIONS[type(outcome)](outcome)


def suite_of(trigger: str) -> str:
    """The suite of the event type that triggered an outcome."""
    return event_type(trigger).suite


def _share(suite: str, metric: str, hit: bool | None) -> _Contributions:
    if hit is not None:
        yield MetricContribution(suite=suite, metric=metric, value=float(hit))


def _credit(suite: str, o: EventOutcome, hit: bool | None, *, side: int = 0) -> _Contributions:
    if hit is not None:
        value = float(hit and o.clean)
        yield MetricContribution(suite=suite, metric=CREDIT, value=value, side=side)


def _median(suite: str, metric: str, value: float | None) -> _Contributions:
    if value is not None:
        yield MetricContribution(suite=suite, metric=metric, value=value, median=True)


def _as_expected(o: EventOutcome, suite: str, hit: bool | None) -> _Contributions:
    """Yield the one metric of a suite that did not ship; raises ValueError for a shipped one."""
    if suite in SUITE_ACTS:
        raise ValueError(
            f"suite {suite!r} has no metric for a {type(o).__name__}; add it to "
            "evaluation/scoring/contributions.py, or take the act out of SUITE_ACTS"
        )
    yield from _share(suite, AS_EXPECTED, hit)
    yield from _credit(suite, o, hit)


def _turn(o: TurnOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    answered = None if o.right is None else o.in_window and o.right
    if suite in _SUITES_OF_TURNS:
        yield from _answered_turn(o, answered)
    match suite:
        case "turn":
            pass
        case "recall":
            yield from _share(suite, "answered", answered)
            yield from _credit(suite, o, answered)
        case "refusals":
            yield from _share(suite, "right", answered)
            yield from _credit(suite, o, answered, side=int(not o.refused))
            yield from _share(suite, "refused" if o.refused else "harmless_answered", o.right)
        case _:
            yield from _as_expected(o, suite, answered)


def _answered_turn(o: TurnOutcome, answered: bool | None) -> _Contributions:
    yield from _share("turn", "onset_recall", o.in_window)
    yield from _share("turn", "right_word", o.right)
    yield from _share("turn", "answered", answered)
    yield from _credit("turn", o, answered)
    for suite in ("background", "agent_backchannel"):  # of others, or listening, but not deaf
        yield from _credit(suite, o, answered, side=1)
    yield from _share("turn", "early_replies", o.early)
    if o.n_expected:
        yield MetricContribution(
            suite="turn", metric="word_error_rate", value=o.n_errors, weight=o.n_expected
        )
    if o.latency_s is not None and o.latency_s >= 0:
        yield from _median("turn", "turn_latency_s", o.latency_s)
    if o.after_interruption:
        yield from _share("interruption", "answered_after", answered)


def _stop(o: StopOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    match suite:
        case "interruption":
            yield from _share(suite, "stopped_in_time", o.in_time)
            stopped = o.in_time and o.spoke_rightly
            yield from _credit(suite, o, stopped)
            yield from _credit("user_backchannel", o, stopped, side=1)
            yield from _share(suite, "speaking_when_interrupted", o.speaking)
            yield from _median(suite, "stop_latency_s", o.latency_s)
        case _:
            yield from _as_expected(o, suite, o.in_time)


def _resume(o: ResumeOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    if suite in ("background", "user_backchannel"):
        yield from _credit(suite, o, o.went_on)
        yield from _credit("interruption", o, o.went_on, side=1)
    match suite:
        case "background":
            yield from _share(suite, "went_on", o.went_on)
            yield from _share(suite, "undisturbed", o.went_on)
        case "user_backchannel":
            yield from _share(suite, "went_on", o.went_on)
            yield from _share(suite, "words_right", o.words_right)
            yield from _share(suite, "speaking_at_backchannel", o.speaking)
            if o.speaking:
                yield from _median(suite, "longest_gap_s", o.longest_gap_s)
        case _:
            yield from _as_expected(o, suite, o.went_on)


def _silence(o: SilenceOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    if suite not in _SILENCE_METRICS:
        yield from _as_expected(o, suite, o.silent)
    if suite == "background":
        yield from _credit(suite, o, o.silent)
    for metric in _SILENCE_METRICS.get(suite, ()):
        yield from _share(suite, metric, o.silent)


def _cue(o: CueOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    match suite:
        case "recall":
            yield from _share(suite, "answered", o.in_window)
            yield from _credit(suite, o, o.in_window)
        case "delegation":
            yield from _share(suite, "filler_in_window", o.in_window)
        case "timed_cue" | "over_user" | "visual":
            yield from _share(suite, "in_window", o.in_window)
            yield from _credit(suite, o, o.in_window)
            yield from _share(suite, "right_word", o.right)
            yield from _median(suite, "onset_from_earliest_s", o.onset_s)
        case _:
            yield from _as_expected(o, suite, o.in_window)


def _backchannel(o: BackchannelOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    match suite:
        case "agent_backchannel":
            yield from _share(suite, "given", o.given)
            yield from _credit(suite, o, o.given)
            yield from _share(suite, "right_word", o.right)
            yield from _median(suite, "onset_s", o.onset_s)
        case _:
            yield from _as_expected(o, suite, o.given)


def _delegation(o: DelegationOutcome) -> _Contributions:
    suite = suite_of(o.trigger)
    match suite:
        case "delegation":
            yield from _share(suite, "delegated", o.delegated)
            yield from _share(suite, "acknowledged", o.acknowledged)
            yield from _median(suite, "delegate_latency_s", o.latency_s)
        case _:
            yield from _as_expected(o, suite, o.delegated)


def _result(o: ResultOutcome) -> _Contributions:
    suite = suite_of(RESULT)  # only this type makes such an outcome
    yield from _share(suite, "result_spoken", o.spoken)
    yield from _credit(suite, o, o.spoken and o.alone)
    yield from _share(suite, "result_right", o.right)
    yield from _median(suite, "result_latency_s", o.latency_s)


def _idle(o: IdleOutcome) -> _Contributions:
    minutes = o.silent_s / 60
    if not o.n_silent:
        return
    for metric, value, weight in (
        ("spurious_share", o.n_spurious, float(o.n_silent)),
        ("spurious_onsets_per_min", o.n_onsets, minutes),
        ("false_delegates_per_min", o.n_false_delegates, minutes),
    ):
        yield MetricContribution(
            suite="overall", metric=metric, value=value, weight=weight, n=o.n_silent
        )


def _heard(o: HeardOutcome) -> _Contributions:
    if o.n_expected:
        yield MetricContribution(
            suite="overall",
            metric="heard_word_error_rate",
            value=o.n_errors,
            weight=o.n_expected,
            n=o.n_expected,
        )


def _sound(o: SoundOutcome) -> _Contributions:
    if o.n_judged:
        yield MetricContribution(
            suite="overall",
            metric="sounds_as_written",
            value=o.n_right,
            weight=o.n_judged,
            n=o.n_judged,
        )


def _unsure(o: UnsureOutcome) -> _Contributions:
    yield MetricContribution(
        suite="overall",
        metric="unsure_events",
        value=o.n_unsure,
        weight=o.n_events,
        n=o.n_events,
    )


_CONTRIBUTIONS: Final[Mapping[type[Any], Callable[[Any], _Contributions]]] = {
    TurnOutcome: _turn,
    StopOutcome: _stop,
    ResumeOutcome: _resume,
    SilenceOutcome: _silence,
    CueOutcome: _cue,
    BackchannelOutcome: _backchannel,
    DelegationOutcome: _delegation,
    ResultOutcome: _result,
    IdleOutcome: _idle,
    HeardOutcome: _heard,
    SoundOutcome: _sound,
    UnsureOutcome: _unsure,
}
