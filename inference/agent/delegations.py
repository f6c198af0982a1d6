"""The delegations of one conversation, from `<delegate>` to what the model reads of their results.

The runtime never barges in: a result is text for the model, which says it when it finds the time.
A delegation that fails or takes too long is such a text, too, so that nobody waits for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

from numpy.typing import NDArray

from microturn.inference.agent.agent import OVER, AgentEvent, BackgroundAgent, Job, Status
from microturn.inference.agent.cards import MAX_CARDS, Card, TextCard, clean
from microturn.inference.agent.package import (
    ContextPackage,
    EarlierResult,
    PendingWork,
    Still,
    TypedMessage,
)
from microturn.inference.agent.speakable import Speakable, spoken_sentences
from microturn.inference.config import AgentConfig
from microturn.inference.transcript import Transcript
from microturn.model.streams import FAILED_RESULT, StreamLayout

_ABOUT_WORDS: Final = 12  # of the user's last words say what a delegation is about
_MAX_WAITING: Final = 16  # partial results that wait for their time
_MAX_EVENTS: Final = 1_000  # of one delegation that are kept

ResultStatus = Literal["progress", "partial", "final", "failed"]


@dataclass(frozen=True, kw_only=True)
class DelegationEvent:
    """A delegation took a step."""

    micro_turn: int
    event: AgentEvent
    about: str  # the user's last words before it


@dataclass(frozen=True, kw_only=True)
class ResultEvent:
    """Words of a delegation for `text_in`: a result, a part of it, progress or a failure."""

    micro_turn: int
    delegation_id: str
    text: str
    status: ResultStatus


@dataclass(frozen=True, kw_only=True)
class CardEvent:
    """A card of a delegation is to be shown; `number` counts within the delegation."""

    micro_turn: int
    delegation_id: str
    number: int
    card: Card


@dataclass(kw_only=True)
class ConversationRecord:
    """What a conversation knows, and its context packages are made of."""

    transcript: Transcript = field(default_factory=Transcript)
    typed: list[TypedMessage] = field(default_factory=list)
    instructions: str = ""
    frames: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # the newest, by lane


@dataclass(kw_only=True)
class Delegation:
    """One request that the model handed over."""

    id: str
    micro_turn: int
    about: str
    job: Job | None = None
    read_micro_turn: int | None = None  # when its agent got the conversation
    progress: str = ""
    is_closed: bool = False  # its agent is done, or it was ended here
    is_over: bool = False  # nothing more of it will be said
    events: list[DelegationEvent] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    results: list[ResultEvent] = field(default_factory=list)  # what the model was told
    waiting: deque[tuple[ResultStatus, str]] = field(default_factory=deque)
    unsaid: list[str] = field(default_factory=list)  # parts that the voice could not say
    n_tokens: int = 0  # of its results so far

    @property
    def status(self) -> Status | None:
        return self.events[-1].event.status if self.events else None


class Delegations:
    """Hands the conversation to its agent, and keeps what comes back until its time.

    With `wait` a result arrives exactly at its time on the clock of the conversation, however fast
    that runs.
    """

    def __init__(
        self,
        agent: BackgroundAgent | None,
        config: AgentConfig,
        *,
        record: ConversationRecord,
        layout: StreamLayout,
        voice: Speakable,
        name: str = "",
        wait: bool = False,
    ) -> None:
        self.all: list[Delegation] = []
        self._agent, self._config, self._name, self._wait = agent, config, name, wait
        self._record, self._layout, self._voice = record, layout, voice
        self._settle = layout.round_to_micro_turns(config.settle_s)
        self._latency = layout.round_to_micro_turns(config.latency_s)
        self._timeout = layout.round_to_micro_turns(config.timeout_s)
        self._budget = layout.text_in_positions * layout.round_to_micro_turns(config.result_s)
        self._under_way: dict[str, Delegation] = {}
        self._inbox: SimpleQueue[AgentEvent] = SimpleQueue()
        self._events: list[DelegationEvent | CardEvent | ResultEvent] = []
        self._now = 0

    # --- from the conversation -----------------------------------------------------------------
    def delegate_to(self, agent: BackgroundAgent) -> None:
        """Hand what is delegated from now on to another agent."""
        self._agent = agent

    def is_open(self, delegation_id: str | None) -> bool:
        """Tell whether an answer to a delegation is still taken."""
        delegation = self._under_way.get(delegation_id or "")
        return delegation is not None and not delegation.is_closed

    def speakable(self, text: str) -> str:
        """Return a text as the voice says it; raises ValueError for what it cannot say."""
        spoken = self._voice.speak(text, budget=self._budget)
        if not spoken.is_all:
            raise ValueError(
                f"the voice of this model cannot say {clean(text, 60)!r} as a whole; send fewer "
                "words, or words that it was trained on"
            )
        return spoken.line

    def open(self) -> None:
        """Begin a delegation, as the model says `<delegate>`."""
        n_pending = sum(not delegation.is_closed for delegation in self._under_way.values())
        delegation = Delegation(
            id=f"{self._name}d{len(self.all) + 1}", micro_turn=self._now, about=self._about()
        )
        self.all.append(delegation)
        self._under_way[delegation.id] = delegation
        if self._agent is None:
            self._close(delegation, "failed", text="no background agent is switched on")
        elif n_pending >= self._config.max_pending:
            self._close(delegation, "failed", text=f"{n_pending} delegations are under way already")

    def advance(self, micro_turn: int) -> None:
        """Take every delegation as far as the clock and its agent allow."""
        self._now = micro_turn
        self._drain_inbox()
        for delegation in list(self._under_way.values()):
            self._advance(delegation)

    def cancel_latest(self) -> None:
        """End the newest delegation, as the model says `<cancel>`."""
        if self._under_way:
            self._cancel(list(self._under_way.values())[-1])

    def cancel(self, delegation_id: str) -> None:
        """End a delegation by its id; raises ValueError for an id that is not under way."""
        if delegation_id not in self._under_way:
            raise ValueError(f"no delegation {delegation_id[:40]!r} is under way")
        self._cancel(self._under_way[delegation_id])

    def finish(self) -> None:
        """End all work, as the conversation is over."""
        for delegation in list(self._under_way.values()):
            self._cancel(delegation)

    def pop_events(self) -> list[DelegationEvent | CardEvent | ResultEvent]:
        """Return what has happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # --- the way of a delegation ---------------------------------------------------------------
    def _advance(self, delegation: Delegation) -> None:
        age = self._now - delegation.micro_turn
        if not delegation.is_closed and delegation.job is None and age >= self._settle:
            assert self._agent is not None
            package = self._package(delegation)
            delegation.read_micro_turn, delegation.about = self._now, self._about()
            delegation.job = self._agent.submit(package, self._inbox.put)
            self._drain_inbox()
        if age < self._latency:
            return
        if self._wait:
            self._wait_for(delegation)
        elif not delegation.is_closed and age >= self._timeout:
            self._close(delegation, "failed", text=f"no answer within {self._config.timeout_s:g} s")
            if delegation.job is not None:
                delegation.job.cancel()
        self._deliver(delegation)

    def _wait_for(self, delegation: Delegation) -> None:
        while not delegation.is_closed:
            try:
                self._receive(self._inbox.get(timeout=self._config.timeout_s))
            except Empty:
                timeout = self._config.timeout_s
                self._close(delegation, "failed", text=f"no answer within {timeout:g} s")

    def _cancel(self, delegation: Delegation) -> None:
        delegation.waiting.clear()
        if not delegation.is_closed:
            if delegation.job is not None:
                delegation.job.cancel()
            self._close(delegation, "cancelled", text="cancelled")
        self._end(delegation)

    def _close(self, delegation: Delegation, status: Status, *, text: str) -> None:
        """End a delegation without its agent."""
        seq = len(delegation.events)
        self._receive(AgentEvent(delegation_id=delegation.id, seq=seq, status=status, text=text))

    def _end(self, delegation: Delegation) -> None:
        delegation.is_over = True
        self._under_way.pop(delegation.id, None)

    # --- events of the agent -------------------------------------------------------------------
    def _drain_inbox(self) -> None:
        while True:
            try:
                self._receive(self._inbox.get_nowait())
            except Empty:
                return

    def _receive(self, event: AgentEvent) -> None:
        delegation = self._under_way.get(event.delegation_id)
        if delegation is None or delegation.is_closed:  # it was ended here in the meantime
            return
        if len(delegation.events) < _MAX_EVENTS or event.status in OVER:
            step = DelegationEvent(micro_turn=self._now, event=event, about=delegation.about)
            delegation.events.append(step)
            self._events.append(step)
        for card in event.cards:
            self._show(delegation, card)
        if event.supersedes:
            self._supersede(event.supersedes, by=delegation)
        match event.status:
            case "progress":
                delegation.progress = event.text
                if self._config.progress and not delegation.waiting:
                    delegation.waiting.append(("progress", event.text))
            case "partial" if len(delegation.waiting) < _MAX_WAITING:
                delegation.waiting.append(("partial", event.text))
            case "partial":
                delegation.unsaid.append(event.text)
            case "final" | "failed":
                delegation.is_closed = True
                delegation.waiting.append((event.status, event.text))
            case "cancelled":
                delegation.is_closed = True
                self._end(delegation)

    def _supersede(self, delegation_id: str, *, by: Delegation) -> None:
        old = self._under_way.get(delegation_id)
        if old is None or old is by or old.is_closed:
            return
        if old.job is not None:
            old.job.cancel()
        self._close(old, "cancelled", text=f"{by.id} takes its place")

    def _show(self, delegation: Delegation, card: Card) -> None:
        if len(delegation.cards) < MAX_CARDS:
            number = len(delegation.cards)
            delegation.cards.append(card)
            self._events.append(
                CardEvent(
                    micro_turn=self._now, delegation_id=delegation.id, number=number, card=card
                )
            )

    # --- results for the model -----------------------------------------------------------------
    def _deliver(self, delegation: Delegation) -> None:
        """Give the model what has come of a delegation."""
        while delegation.waiting:
            status, text = delegation.waiting.popleft()
            if status == "final":
                self._deliver_final(delegation, text)
            elif status == "failed":
                self._fail(delegation)
            else:
                spoken = self._voice.speak(text, budget=self._left(delegation))
                if spoken.is_all:
                    self._say(delegation, status, spoken.line)
                elif status == "partial":
                    delegation.unsaid.append(text)
        if delegation.is_closed and not delegation.is_over:
            self._end(delegation)

    def _deliver_final(self, delegation: Delegation, text: str) -> None:
        budget = self._left(delegation)
        text = text if any(spoken_sentences(text)) else ""
        spoken = self._voice.speak(text, budget=budget)
        if delegation.unsaid or (text and not spoken.is_all):
            whole = "\n".join([*delegation.unsaid, text]).strip()
            self._show(delegation, TextCard(title=delegation.about, text=whole))
        line = spoken.line
        if not text:
            line = self._voice.pointer(budget=budget) if delegation.cards else ""
            if any(result.status == "partial" for result in delegation.results):
                return
        if line:
            self._say(delegation, "final", line)
        else:
            self._fail(delegation)

    def _fail(self, delegation: Delegation) -> None:
        """Tell a model that has learnt it that no result will come."""
        if self._voice.can_say(FAILED_RESULT):
            self._say(delegation, "failed", FAILED_RESULT)

    def _left(self, delegation: Delegation) -> int:
        return max(self._budget - delegation.n_tokens, 0)

    def _say(self, delegation: Delegation, status: ResultStatus, line: str) -> None:
        if not self._layout.text_in_positions:
            return
        delegation.n_tokens += self._voice.count_tokens(line)
        result = ResultEvent(
            micro_turn=self._now, delegation_id=delegation.id, text=line, status=status
        )
        delegation.results.append(result)
        self._events.append(result)

    # --- the context package -------------------------------------------------------------------
    def _asked_after(self) -> int:
        """Return the boundary up to which the user's words belong to earlier delegations."""
        reads = [
            delegation.read_micro_turn
            for delegation in self.all
            if delegation.read_micro_turn is not None
            and delegation.status not in ("failed", "cancelled")
        ]
        return max(reads, default=0)

    def _about(self) -> str:
        after = self._asked_after()
        heard = [
            (word.micro_turn, word.text)
            for word in self._record.transcript.words[-200:]
            if word.side == "user"
        ]
        typed = [(typed.micro_turn, typed.text) for typed in self._record.typed[-5:]]
        asked = sorted([*heard, *typed], key=lambda words: words[0])
        words = " ".join(text for at, text in asked if at > after).split()
        return clean(" ".join(words[-_ABOUT_WORDS:]), 200)

    def _package(self, delegation: Delegation) -> ContextPackage:
        record, voice = self._record, self._voice
        lane, frame = next(iter(record.frames.items()), ("", None))
        return ContextPackage(
            delegation_id=delegation.id,
            micro_turn=delegation.micro_turn,
            micro_turn_ms=self._layout.micro_turn_ms,
            words=tuple(record.transcript.words),
            asked_after=self._asked_after(),
            typed=tuple(record.typed),
            results=tuple(
                EarlierResult(
                    delegation_id=result.delegation_id,
                    status=result.status,
                    text=result.text,
                    micro_turn=result.micro_turn,
                )
                for earlier in self.all
                for result in earlier.results
            ),
            pending=tuple(
                PendingWork(
                    delegation_id=other.id,
                    about=other.about,
                    progress=other.progress,
                    micro_turn=other.micro_turn,
                )
                for other in self._under_way.values()
                if other is not delegation and not other.is_closed
            ),
            instructions=record.instructions,
            speakable=None if voice.words is None else tuple(sorted(voice.words)),
            text_budget=self._budget,
            still=None if frame is None else Still.of(lane, frame),
        )
