"""How an agent interacts, by the definitions of tau-voice, on its clock of 200 ms.

Ray, Dhandhania, Barres & Narasimhan 2026, "tau-Voice: Benchmarking Full-Duplex Voice Agents on
Real-World Domains" (PMLR 306), as spelt out in the benchmark's `docs/interaction-metrics.md`,
version 1.0. Time is cut into ticks (here micro-turns); a voice that is heard in a tick speaks in
it, and speech in neighbouring ticks is one stretch.

- response: after a turn of the user at whose end the agent is silent, the agent begins before the
  user speaks to it again. The latency runs from the end of the turn; who speaks in the very next
  tick was not silent at its end.
- yield: the user speaks to the agent while it speaks, and it is silent within 2 s. The latency runs
  from the onset.
- agent interrupts: a stretch of the agent begins in a tick in which the user speaks to it.
- selectivity: through a backchannel, a vocal tic or speech that is not addressed to it, the agent
  speaks on for 1 s; or, where it is silent at a tic or at such speech, it begins nothing until 2 s
  after its end.

Dialogues of microturn ask for things that those of tau-voice do not have. So a stop word and a
request for a later time expect no response; speech that another event asks for (a cue, a result, a
translation, the answer to a turn beside a tic) interrupts nobody and answers no tic; a user who
speaks to the agent again ends the 2 s after a tic; and a turn without an answer counts where 2 s
are left, for a dialogue ends by the clock and not with a goodbye.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    OVERLAP,
    PAUSE,
    SIDE_TALK,
    USER_BACKCHANNEL,
    VOCAL_TIC,
    event_type,
)
from microturn.evaluation.scoring.activity import Span, merge, subtract
from microturn.evaluation.scoring.answers import WINDOW_ACTS
from microturn.evaluation.scoring.events import score_event
from microturn.evaluation.scoring.moments import same, within
from microturn.evaluation.scoring.outcomes import (
    DelegationOutcome,
    ResumeOutcome,
    StopOutcome,
    TurnOutcome,
)
from microturn.evaluation.scoring.scene import ScoredDialogue

YIELD_S: Final = 2.0  # an interrupted agent is silent within this time
TALK_THROUGH_S: Final = 1.0  # an agent that stops within this time has given way
RESPONSE_S: Final = 2.0  # an agent that begins within this time has answered
_EDGE_S: Final = 1e-6  # times are sums of floats

_REPLY_ACTS: Final = ("respond", "refuse", "delegate")
_IGNORED: Final = {  # type of event: what it is a test of
    USER_BACKCHANNEL: "backchannel",
    VOCAL_TIC: "vocal_tic",
    SIDE_TALK: "non_directed",
}
_NOT_SAID_TO_IT: Final = (USER_BACKCHANNEL, AGENT_BACKCHANNEL, PAUSE, OVERLAP)


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What became of one event."""

    good: bool
    latency_s: float | None = None
    counts: bool = True  # with the right words, and nothing unasked next to it (restraint.py)


@dataclass(kw_only=True)
class Interaction:
    """Everything that is counted in one dialogue."""

    response: list[Reaction] = field(default_factory=list)
    yields: list[Reaction] = field(default_factory=list)
    backchannel: list[Reaction] = field(default_factory=list)
    vocal_tic: list[Reaction] = field(default_factory=list)
    non_directed: list[Reaction] = field(default_factory=list)
    n_agent_interrupts: int = 0


@dataclass(frozen=True, kw_only=True)
class _Said:
    """Something that the user says to the agent, perhaps described by several events."""

    start_s: float
    end_s: float
    events: tuple[EventLabel, ...]

    @property
    def asks(self) -> bool:
        return any(event.act in _REPLY_ACTS for event in self.events)

    @property
    def takes_floor(self) -> bool:
        return self.asks or any(event.act == "stop" for event in self.events)


def interaction_of(scored: ScoredDialogue) -> Interaction:
    """Count the interaction of one dialogue with one agent."""
    return _Ticks(scored).interaction()


class _Ticks:
    """One dialogue on the clock of ticks; all indices are ticks, ends are the first one after."""

    def __init__(self, scored: ScoredDialogue) -> None:
        self._scored = scored
        dialogue = scored.dialogue
        self._tick_s = dialogue.micro_turn_s
        self._n = round(dialogue.duration_s / self._tick_s)
        # A gap between two words is no end of speech.
        speech = merge(scored.runs, scored.windows.stopped_for_s)
        self._agent = self._stretches(speech)
        self._onsets_s = {self._first(start): start for start, _ in reversed(speech)}
        sure = scored.windows.min_confidence
        events = [e for e in dialogue.events if e.speaker == "user" and not e.instant]
        self._ignored = [e for e in events if e.type in _IGNORED and e.confidence >= sure]
        self._said = _to_the_agent(events)

    def interaction(self) -> Interaction:
        found = Interaction(n_agent_interrupts=self._n_agent_interrupts())
        for said in self._said:
            start, end = self._first(said.start_s), self._after(said.end_s)
            if said.takes_floor and self._speaks(start):
                found.yields.append(self._yield(said, start))
            if said.asks and not self._speaks(end):
                found.response += self._response(said, end)
        for event in self._ignored:
            reaction = self._ignoring(event)
            if reaction is not None:
                getattr(found, _IGNORED[event.type]).append(reaction)
        return found

    # --- events ------------------------------------------------------------------------------
    def _response(self, said: _Said, end: int) -> list[Reaction]:
        """Return the reaction to a turn that ends before a tick; none where nobody can tell."""
        begins = min((start for start, _ in self._agent if start >= end), default=None)
        again = self._said_again(end)
        if begins is not None and (again is None or begins <= again):
            latency_s = (begins - end) * self._tick_s
            return [
                Reaction(good=True, latency_s=latency_s, counts=self._counts(said, _REPLY_ACTS))
            ]
        if again is not None or self._n - end >= self._count(RESPONSE_S):
            return [Reaction(good=False)]
        return []

    def _yield(self, said: _Said, start: int) -> Reaction:
        quiet = self._quiet_within(start, YIELD_S)
        latency_s = None if quiet is None else (quiet - start) * self._tick_s
        counts = self._counts(said, ("stop",))
        return Reaction(good=quiet is not None, latency_s=latency_s, counts=counts)

    def _ignoring(self, event: EventLabel) -> Reaction | None:
        """The reaction to what asks for none; None for a backchannel to a silent agent."""
        start, counts = self._first(event.start_s), self._is_right(event)
        if self._speaks(start):
            return Reaction(good=self._quiet_within(start, TALK_THROUGH_S) is None, counts=counts)
        if event.type == USER_BACKCHANNEL:
            return None
        until = self._after(event.end_s) + self._count(RESPONSE_S)
        again = self._said_again(start)
        until = until if again is None else min(until, again - 1)
        answers = any(
            start <= begins <= until and not self._is_asked_for(begins) for begins, _ in self._agent
        )
        return Reaction(good=not answers, counts=counts)

    def _n_agent_interrupts(self) -> int:
        user = self._user_ticks()
        return sum(
            begins in user and not self._is_asked_for(begins, over_user=True)
            for begins, _ in self._agent
        )

    # --- who speaks --------------------------------------------------------------------------
    def _user_ticks(self) -> set[int]:
        """Ticks in which the user speaks to the agent."""
        dialogue = self._scored.dialogue
        aside = [
            (event.start_s, event.end_s)
            for event in dialogue.events
            if event.type in (VOCAL_TIC, SIDE_TALK)
        ]
        words = [(word.start_s, word.end_s) for word in dialogue.user_words]
        speech = [*subtract(words, aside), *((said.start_s, said.end_s) for said in self._said)]
        return {tick for first, last in self._stretches(speech) for tick in range(first, last)}

    def _speaks(self, tick: int) -> bool:
        return any(first <= tick < last for first, last in self._agent)

    def _quiet_within(self, start: int, seconds: float) -> int | None:
        """Return the first tick without the agent, among those of a window."""
        ticks = range(start, min(start + self._count(seconds), self._n))
        return next((tick for tick in ticks if not self._speaks(tick)), None)

    def _said_again(self, since: int) -> int | None:
        """Return when the user next begins to speak to the agent."""
        begins = (self._first(said.start_s) for said in self._said)
        return min((tick for tick in begins if tick >= since), default=None)

    def _is_asked_for(self, begins: int, *, over_user: bool = False) -> bool:
        """Whether an event asks for the speech that begins in a tick; only one said over a user."""
        onset_s = self._onsets_s[begins]
        return any(
            within(onset_s, answer.earliest_s, answer.latest_s)
            for answer in self._scored.answers
            if not over_user or answer.event.act in WINDOW_ACTS
        )

    # --- words -------------------------------------------------------------------------------
    def _counts(self, said: _Said, acts: Collection[str]) -> bool:
        """Whether the events that expect one of these acts are met with the right words."""
        return all(self._is_right(event) for event in said.events if event.act in acts)

    def _is_right(self, event: EventLabel) -> bool:
        if not event.act or not self._scored.clean(event):
            return not event.act
        match score_event(self._scored, event):
            case TurnOutcome(right=right):
                return right is not False
            case StopOutcome(spoke_rightly=right) | ResumeOutcome(words_right=right):
                return right
            case DelegationOutcome(delegated=right):
                return right
            case _:
                return True

    # --- ticks -------------------------------------------------------------------------------
    def _first(self, time_s: float) -> int:
        """Return the tick that holds the moment after a time."""
        return math.floor(time_s / self._tick_s + _EDGE_S)

    def _after(self, time_s: float) -> int:
        """Return the first tick that begins at a time or later."""
        return math.ceil(time_s / self._tick_s - _EDGE_S)

    def _count(self, seconds: float) -> int:
        return round(seconds / self._tick_s)

    def _stretches(self, spans: Sequence[Span]) -> list[tuple[int, int]]:
        ticks = [(self._first(start), self._after(end)) for start, end in spans]
        joined: list[tuple[int, int]] = []
        for first, last in sorted(ticks):
            if joined and first <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        return joined


def _to_the_agent(events: Sequence[EventLabel]) -> list[_Said]:
    """What the user says to the agent, in order: events with one onset are one utterance."""
    found: list[_Said] = []
    for event in sorted(events, key=lambda e: (e.start_s, e.end_s)):
        if event.type in _NOT_SAID_TO_IT or event_type(event.type).suite == "background":
            continue
        if found and same(found[-1].start_s, event.start_s):
            last = found.pop()
            events_of, end_s = (*last.events, event), max(last.end_s, event.end_s)
        else:
            events_of, end_s = (event,), event.end_s
        found.append(_Said(start_s=event.start_s, end_s=end_s, events=events_of))
    return found
