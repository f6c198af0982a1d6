"""Outcomes of single events.

Times are seconds, latencies seconds after their event. Rates, medians and intervals are made of
many outcomes, in `suites`.
"""

from __future__ import annotations

from dataclasses import dataclass

from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    DELEGATION,
    INTERRUPTION,
    TIMED_CUE,
    TURN,
)


@dataclass(frozen=True, kw_only=True)
class EventOutcome:
    """What became of one event, whatever it asked for."""

    clean: bool = True  # nothing unasked was said or delegated next to it (restraint.py)


@dataclass(frozen=True, kw_only=True)
class TurnOutcome(EventOutcome):
    """A turn that asks for a reply."""

    latency_s: float | None  # first onset after the end; negative: only before the end
    in_window: bool
    early: bool  # began to reply before the user had finished
    right: bool | None  # None: cut before the first recorded word, nothing to judge
    n_errors: int
    n_expected: int
    after_interruption: bool
    said: str
    trigger: str = TURN  # type of the event
    refused: bool = False  # a refusal was asked for


@dataclass(frozen=True, kw_only=True)
class StopOutcome(EventOutcome):
    """An interruption: the agent should fall silent."""

    speaking: bool  # it was speaking when interrupted
    latency_s: float | None  # until it was quiet; None: it never was, or did not speak
    in_time: bool
    spoke_rightly: bool = False  # what it said until then was what it was to say
    trigger: str = INTERRUPTION


@dataclass(frozen=True, kw_only=True)
class ResumeOutcome(EventOutcome):
    """Something to be talked through: a backchannel, another voice, a noise."""

    trigger: str  # type of the event
    speaking: bool
    longest_gap_s: float
    words_right: bool
    went_on: bool


@dataclass(frozen=True, kw_only=True)
class SilenceOutcome(EventOutcome):
    """Something that asks for no reaction while the agent is silent."""

    trigger: str
    speech_s: float
    silent: bool


@dataclass(frozen=True, kw_only=True)
class CueOutcome(EventOutcome):
    """Words to be said at a given time."""

    onset_s: float | None  # relative to the earliest allowed time
    right: bool
    in_window: bool  # the right word, at the right time
    trigger: str = TIMED_CUE  # type of the event


@dataclass(frozen=True, kw_only=True)
class BackchannelOutcome(EventOutcome):
    """A listening point: the agent should show that it listens, and no more."""

    onset_s: float | None  # relative to the end of what was said
    given: bool  # something short, at the right time
    right: bool  # one of the words that the recorded agent uses
    trigger: str = AGENT_BACKCHANNEL


@dataclass(frozen=True, kw_only=True)
class DelegationOutcome(EventOutcome):
    """A request for the background agent."""

    latency_s: float | None
    delegated: bool
    acknowledged: bool | None  # None: nothing is to be said
    trigger: str = DELEGATION


@dataclass(frozen=True, kw_only=True)
class ResultOutcome(EventOutcome):
    """A result that came back on `text_in`."""

    delivered: bool
    right: bool
    latency_s: float | None  # from arrival to the first word
    spoken: bool  # the right words, in time
    alone: bool = False  # and no others after them


@dataclass(frozen=True, kw_only=True)
class IdleOutcome:
    """Everything of a dialogue in which the agent should be silent."""

    n_silent: int  # micro-turns that should be silent
    n_spurious: int  # of these, the ones with speech
    n_onsets: int  # utterances that begin in them
    n_false_delegates: int
    silent_s: float


@dataclass(frozen=True, kw_only=True)
class HeardOutcome:
    """What the agent wrote down of the user."""

    n_errors: int
    n_expected: int


@dataclass(frozen=True, kw_only=True)
class SoundOutcome:
    """Words that the agent wrote, and how many of them its sound says."""

    n_right: int
    n_judged: int


@dataclass(frozen=True, kw_only=True)
class UnsureOutcome:
    """Events that expect something, and those of them that were too unsure to be scored."""

    n_unsure: int
    n_events: int


Outcome = UnsureOutcome | EventOutcome | IdleOutcome | HeardOutcome | SoundOutcome
