"""The delegations of one conversation, from `<delegate>` to what the model reads of their results.

The runtime never barges in: a result is text for the model, which says it when it finds the time.
A delegation that fails or takes too long is such a text, too, so that nobody waits for ever.
"""

from __future__ import annotations

from copy import copy
from itertools import count
from operator import itemgetter
from typing import Final

from microturn.inference.agent.agent import OVER, AgentEvent, BackgroundAgent, Status
from microturn.inference.agent.cards import MAX_CARDS, Card, TextCard, clean
from microturn.inference.agent.client_agent import ClientAgent
from microturn.inference.agent.delegation import (
    CardEvent,
    ConversationRecord,
    Delegation,
    DelegationEvent,
    ResultEvent,
    ResultStatus,
)
from microturn.inference.agent.package import (
    ContextPackage,
    EarlierResult,
    PendingWork,
    Still,
)
from microturn.inference.agent.shared_work import SharedWork
from microturn.inference.agent.speakable import Speakable, spoken_sentences
from microturn.inference.config import AgentConfig
from microturn.model.streams import FAILED_RESULT, StreamLayout

_ABOUT_WORDS: Final = 12  # of the user's last words say what a delegation is about
_MAX_WAITING: Final = 16  # partial results that wait for their time
_MAX_EVENTS: Final = 1_000  # of one delegation that are kept


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
        self._events: list[DelegationEvent | CardEvent | ResultEvent] = []
        self._now = 0
        self._numbers = count(1)  # never twice the same, also after going back

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
            id=f"{self._name}d{next(self._numbers)}", micro_turn=self._now, about=self._about()
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
        self._read_events(list(self._under_way.values()))
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

    # --- going back, and twins ------------------------------------------------------------------
    def copy(self, record: ConversationRecord) -> Delegations:
        """Return them as they are now, with the record of a copied conversation."""
        kept = copy(self)
        kept.all = [delegation.copy() for delegation in self.all]
        kept._under_way = {d.id: d for d in kept.all if d.id in self._under_way}
        kept._events = list(self._events)
        kept._record = record
        return kept

    def go_back_to(self, earlier: Delegations) -> None:
        """End the work that `earlier`, a copy of these, knows nothing of, and hold the rest."""
        for delegation in self._under_way.values():
            if delegation.id not in earlier._under_way:
                self._let_go(delegation)
        earlier._hold()

    def become_twin(self, name: str, *, client: ClientAgent) -> None:
        """Go on as those of a conversation of its own, `name`, that was copied from another one.

        What the client of the other one was asked, the client of this one is asked again.
        """
        self._name, self._numbers = name, copy(self._numbers)
        if isinstance(self._agent, ClientAgent):
            self._agent = client
            for delegation in self._under_way.values():
                if not delegation.is_closed:
                    delegation.work = None
        self._hold()

    def _hold(self) -> None:
        for delegation in self._under_way.values():
            if delegation.work is not None:
                delegation.work.hold(self._name)

    # --- the way of a delegation ---------------------------------------------------------------
    def _advance(self, delegation: Delegation) -> None:
        age = self._now - delegation.micro_turn
        if not delegation.is_closed and delegation.work is None and age >= self._settle:
            assert self._agent is not None
            package = self._package(delegation)
            delegation.read_micro_turn, delegation.about = self._now, self._about()
            delegation.work, delegation.n_read = SharedWork(), 0
            delegation.work.start(self._agent, package, holder=self._name)
            self._read_events([delegation])
        if age < self._latency:
            return
        if self._wait:
            self._wait_for(delegation)
        elif not delegation.is_closed and age >= self._timeout:
            self._close(delegation, "failed", text=f"no answer within {self._config.timeout_s:g} s")
            self._let_go(delegation)
        self._deliver(delegation)

    def _wait_for(self, delegation: Delegation) -> None:
        while delegation.work is not None and not delegation.is_closed:
            n, timeout_s = delegation.n_read, self._config.timeout_s
            self._read_events([delegation], timeout_s=timeout_s)
            if delegation.n_read == n:
                self._close(delegation, "failed", text=f"no answer within {timeout_s:g} s")

    def _cancel(self, delegation: Delegation) -> None:
        delegation.waiting.clear()
        if not delegation.is_closed:
            self._let_go(delegation)
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
    def _read_events(self, delegations: list[Delegation], *, timeout_s: float = 0.0) -> None:
        """Read what is new of these delegations, in the order in which it was said."""
        new: list[tuple[int, AgentEvent]] = []
        for delegation in delegations:
            if delegation.work is not None:
                said = delegation.work.events_after(delegation.n_read, timeout_s=timeout_s)
                delegation.n_read += len(said)
                new += said
        for _, event in sorted(new, key=itemgetter(0)):
            self._receive(event)

    def _let_go(self, delegation: Delegation) -> None:
        if delegation.work is not None:
            delegation.work.let_go(self._name)

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
        self._let_go(old)
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
