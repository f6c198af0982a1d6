"""What the outcome of one event contributes to which metrics of which suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from microturn.evaluation.scoring.outcomes import (
    BackchannelOutcome,
    CueOutcome,
    DelegationOutcome,
    HeardOutcome,
    IdleOutcome,
    Outcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    SoundOutcome,
    StopOutcome,
    TurnOutcome,
)

BACKGROUND_TRIGGERS: Final = (
    *("background_speech", "side_talk", "silence"),
    *("noise", "music", "echo", "packet_loss"),
)
OVER_USER_TRIGGERS: Final = ("spoken_cue", "interjection", "translation")
_PAUSE: Final = ("turn", "silent_in_pauses")
_SILENCES: Final = {  # where silence counts that a suite's own event asks for
    "timed_cue": ("timed_cue", "silent_after_stop"),
    "over_user": ("over_user", "silent_without_cause"),
    "visual": ("visual", "silent_unasked"),
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


def contributions_of(outcome: Outcome) -> Iterator[MetricContribution]:
    """What one outcome contributes to which metrics."""
    yield from _FACTS[type(outcome)](outcome)


def _share(suite: str, metric: str, hit: bool | None) -> Iterator[MetricContribution]:
    if hit is not None:
        yield MetricContribution(suite=suite, metric=metric, value=float(hit))


def _median(suite: str, metric: str, value: float | None) -> Iterator[MetricContribution]:
    if value is not None:
        yield MetricContribution(suite=suite, metric=metric, value=value, median=True)


def _suite_of(trigger: str) -> str:
    """The suite of an event type that has one of its own; empty for others."""
    if trigger in OVER_USER_TRIGGERS:
        return "over_user"
    if trigger.startswith("visual"):
        return "visual"
    return trigger if trigger in ("timed_cue", "recall") else ""


def _turn_facts(o: TurnOutcome) -> Iterator[MetricContribution]:
    yield from _share("turn", "onset_recall", o.in_window)
    yield from _share("turn", "right_word", o.right)
    yield from _share("turn", "answered", None if o.right is None else o.in_window and o.right)
    yield from _share("turn", "early_replies", o.early)
    if o.n_expected:
        yield MetricContribution(
            suite="turn", metric="word_error_rate", value=o.n_errors, weight=o.n_expected
        )
    if o.latency_s is not None and o.latency_s >= 0:
        yield from _median("turn", "turn_latency_s", o.latency_s)
    answered = None if o.right is None else o.in_window and o.right
    if o.after_interruption:
        yield from _share("interruption", "answered_after", answered)
    if o.trigger == "recall":
        yield from _share("recall", "answered", answered)
    if o.trigger == "forbidden":
        yield from _share("refusals", "right", answered)
        yield from _share("refusals", "refused" if o.refused else "harmless_answered", o.right)


def _stop_facts(o: StopOutcome) -> Iterator[MetricContribution]:
    yield from _share("interruption", "stopped_in_time", o.in_time)
    yield from _share("interruption", "speaking_when_interrupted", o.speaking)
    yield from _median("interruption", "stop_latency_s", o.latency_s)


def _resume_facts(o: ResumeOutcome) -> Iterator[MetricContribution]:
    if o.trigger in BACKGROUND_TRIGGERS:
        yield from _share("background", "went_on", o.went_on)
        yield from _share("background", "undisturbed", o.went_on)
        return
    yield from _share("user_backchannel", "went_on", o.went_on)
    yield from _share("user_backchannel", "words_right", o.words_right)
    yield from _share("user_backchannel", "speaking_at_backchannel", o.speaking)
    if o.speaking:
        yield from _median("user_backchannel", "longest_gap_s", o.longest_gap_s)


def _silence_facts(o: SilenceOutcome) -> Iterator[MetricContribution]:
    if o.trigger in BACKGROUND_TRIGGERS:
        yield from _share("background", "silent", o.silent)
        yield from _share("background", "undisturbed", o.silent)
    else:
        yield from _share(*_SILENCES.get(_suite_of(o.trigger), _PAUSE), o.silent)


def _cue_facts(o: CueOutcome) -> Iterator[MetricContribution]:
    suite = _suite_of(o.trigger) or "timed_cue"
    if suite == "recall":
        yield from _share(suite, "answered", o.in_window)
        return
    yield from _share(suite, "in_window", o.in_window)
    yield from _share(suite, "right_word", o.right)
    yield from _median(suite, "onset_from_earliest_s", o.onset_s)


def _backchannel_facts(o: BackchannelOutcome) -> Iterator[MetricContribution]:
    yield from _share("agent_backchannel", "given", o.given)
    yield from _share("agent_backchannel", "right_word", o.right)
    yield from _median("agent_backchannel", "onset_s", o.onset_s)


def _delegation_facts(o: DelegationOutcome) -> Iterator[MetricContribution]:
    yield from _share("delegation", "delegated", o.delegated)
    yield from _share("delegation", "acknowledged", o.acknowledged)
    yield from _median("delegation", "delegate_latency_s", o.latency_s)


def _result_facts(o: ResultOutcome) -> Iterator[MetricContribution]:
    yield from _share("delegation", "result_spoken", o.spoken)
    yield from _share("delegation", "result_right", o.right)
    yield from _median("delegation", "result_latency_s", o.latency_s)


def _idle_facts(o: IdleOutcome) -> Iterator[MetricContribution]:
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


def _heard_facts(o: HeardOutcome) -> Iterator[MetricContribution]:
    if o.n_expected:
        yield MetricContribution(
            suite="overall",
            metric="heard_word_error_rate",
            value=o.n_errors,
            weight=o.n_expected,
            n=o.n_expected,
        )


def _sound_facts(o: SoundOutcome) -> Iterator[MetricContribution]:
    if o.n_judged:
        yield MetricContribution(
            suite="overall",
            metric="sounds_as_written",
            value=o.n_right,
            weight=o.n_judged,
            n=o.n_judged,
        )


_FACTS: Final[Mapping[type[Any], Callable[[Any], Iterator[MetricContribution]]]] = {
    TurnOutcome: _turn_facts,
    StopOutcome: _stop_facts,
    ResumeOutcome: _resume_facts,
    SilenceOutcome: _silence_facts,
    CueOutcome: _cue_facts,
    BackchannelOutcome: _backchannel_facts,
    DelegationOutcome: _delegation_facts,
    ResultOutcome: _result_facts,
    IdleOutcome: _idle_facts,
    HeardOutcome: _heard_facts,
    SoundOutcome: _sound_facts,
}
