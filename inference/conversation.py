"""One live conversation: the words of a session and its background work.

Rows work on audio and token ids. This is the layer above a row: it turns ids into words with times,
hands the conversation to the background agent when the model says `<delegate>`, and feeds results
back through `text_in`. `talk` and `serve` both use it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final, Literal

from microturn.inference.agent.agent import (
    OVER,
    AgentEvent,
    BackgroundAgent,
    ContextPackage,
    Job,
    Status,
)
from microturn.inference.config import AgentConfig
from microturn.inference.micro_turn import MicroTurnOut
from microturn.inference.notes import Notes
from microturn.inference.transcript import PLAYED_AFTER, Transcript, TranscriptWord, WordStream
from microturn.model.streams import (
    CANCEL,
    DELEGATE,
    EOS,
    StreamLayout,
    Tokenizer,
    result_text,
    typed_text,
)

_MAX_TEXT_TOKENS: Final = 512  # waiting text beyond this is refused


@dataclass(frozen=True, kw_only=True)
class WordEvent:
    """A word is complete; its own time is in `word`."""

    word: TranscriptWord


@dataclass(frozen=True, kw_only=True)
class DelegationEvent:
    """A delegation took a step."""

    micro_turn: int
    event: AgentEvent


@dataclass(frozen=True, kw_only=True)
class ResultEvent:
    """The result of a delegation entered `text_in`."""

    micro_turn: int
    delegation_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class UtteranceEndEvent:
    """The model wrote `<eos>`: the agent's utterance is over at the start of `micro_turn`."""

    micro_turn: int


ConversationEvent = WordEvent | DelegationEvent | ResultEvent | UtteranceEndEvent
State = Literal["working", "ready", "over"]


@dataclass(kw_only=True)
class Delegation:
    """One request that the model handed over, from `<delegate>` to the end."""

    id: str
    micro_turn: int
    state: State = "working"
    job: Job | None = None
    events: list[DelegationEvent] = field(default_factory=list)
    result: str = ""
    result_micro_turn: int | None = None

    @property
    def status(self) -> Status | None:
        return self.events[-1].event.status if self.events else None


class Conversation:
    """Transcript, delegations and waiting text of one session.

    Call `next_text` before and `read_output` after each micro-turn. With `wait_for_agent` a result
    arrives exactly at its time on the clock of the conversation, however fast that runs. With
    `notes` the words beyond the model's window come back on `text_in`.
    """

    def __init__(
        self,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        *,
        agent: BackgroundAgent | None,
        config: AgentConfig,
        name: str = "",
        wait_for_agent: bool = False,
        notes: Notes | None = None,
    ) -> None:
        self.layout = layout
        self.transcript = Transcript()
        self.delegations: list[Delegation] = []
        self.micro_turn = 0  # index of the next micro-turn
        self._tokenizer = tokenizer
        self._agent = agent
        self._name = name
        self._config = config
        self._wait_for_agent = wait_for_agent
        self.notes = notes
        self._under_way: dict[str, Delegation] = {}
        self._settle = layout.round_to_micro_turns(config.settle_s)
        self._latency = layout.round_to_micro_turns(config.latency_s)
        self._timeout = layout.round_to_micro_turns(config.timeout_s)
        self._heard = WordStream(tokenizer, "user")
        self._said = WordStream(tokenizer, "agent")
        self._waiting_text: deque[int] = deque()
        self._inbox: SimpleQueue[AgentEvent] = SimpleQueue()
        self._events: list[ConversationEvent] = []

    # --- between micro-turns -------------------------------------------------------------------
    def next_text(self) -> list[int]:
        """Return the ids of `text_in` for the next micro-turn, first in first out."""
        self._drain_inbox()
        for delegation in list(self._under_way.values()):
            self._advance(delegation)
        n = self.layout.text_in_positions
        if self._waiting_text:
            if self.notes is not None:
                self.notes.interrupt()
            return [self._waiting_text.popleft() for _ in range(min(n, len(self._waiting_text)))]
        if self.notes is None:
            return []
        return self.notes.next_ids(self.transcript.words, self.micro_turn, max_ids=n)

    def read_output(self, output: MicroTurnOut) -> list[ConversationEvent]:
        """Read the tokens of the micro-turn that just ran; returns the events since the last."""
        self._keep(self._heard.add_ids(output.heard, self.micro_turn))
        self._keep(self._said.add_ids(output.say, self.micro_turn))
        for token_id in output.say:
            if token_id == DELEGATE:
                self._delegate()
            elif token_id == CANCEL:
                self._cancel_latest()
            elif token_id == EOS:
                over = UtteranceEndEvent(micro_turn=self.micro_turn + PLAYED_AFTER)
                self._events.append(over)
        self.micro_turn += 1
        return self._pop_events()

    def pass_over(self, n: int) -> None:
        """Let `n` micro-turns pass that the model made nothing in: the clock goes on."""
        self._keep(self._heard.flush())
        self._keep(self._said.flush())
        self.micro_turn += n

    def finish(self) -> list[ConversationEvent]:
        """End the conversation; returns the words still open and the end of unfinished work."""
        self._keep(self._heard.flush())
        self._keep(self._said.flush())
        for delegation in list(self._under_way.values()):
            self._cancel(delegation)
        return self._pop_events()

    # --- requests of the user ------------------------------------------------------------------
    def type_text(self, text: str) -> None:
        """Queue typed text for `text_in`.

        Raises ValueError when too much waits already, and for text that the model cannot read.
        """
        self._tokenizer.check_words(text, name="text")
        ids = self._tokenizer.encode_lane_text(typed_text(text))
        if not self.layout.text_in_positions:
            raise ValueError("this model has no text input; its layout has text_in_positions=0")
        if len(self._waiting_text) + len(ids) > _MAX_TEXT_TOKENS:
            raise ValueError(
                f"{len(self._waiting_text)} text tokens wait already; send less than "
                f"{_MAX_TEXT_TOKENS} at a time"
            )
        self._waiting_text.extend(ids)

    def cancel(self, delegation_id: str) -> None:
        """End a delegation by its id; raises ValueError for an id that is not under way."""
        if delegation_id not in self._under_way:
            raise ValueError(f"no delegation {delegation_id!r} is under way")
        self._cancel(self._under_way[delegation_id])

    # --- delegation ----------------------------------------------------------------------------
    def _delegate(self) -> None:
        n_pending = len(self._under_way)
        delegation = Delegation(
            id=f"{self._name}d{len(self.delegations) + 1}", micro_turn=self.micro_turn
        )
        self.delegations.append(delegation)
        self._under_way[delegation.id] = delegation
        if self._agent is None:
            self._close(delegation, "failed", text="no background agent is switched on")
        elif n_pending >= self._config.max_pending:
            self._close(delegation, "failed", text=f"{n_pending} delegations are under way already")

    def _advance(self, delegation: Delegation) -> None:
        """Advance a delegation as far as the clock and the agent allow."""
        age = self.micro_turn - delegation.micro_turn
        if delegation.job is None and age >= self._settle:
            assert self._agent is not None
            delegation.job = self._agent.submit(self._package(delegation), self._inbox.put)
            self._drain_inbox()
        if age < self._latency or delegation.job is None:
            return
        if self._wait_for_agent:
            self._wait_for(delegation)
        elif age >= self._timeout:
            self._close(delegation, "failed", text=f"no answer within {self._config.timeout_s:g} s")
            delegation.job.cancel()
        if delegation.state == "ready":
            self._deliver(delegation)

    def _package(self, delegation: Delegation) -> ContextPackage:
        return ContextPackage(
            delegation_id=delegation.id,
            micro_turn=delegation.micro_turn,
            micro_turn_ms=self.layout.micro_turn_ms,
            words=tuple(self.transcript.words),
            pending=tuple(id for id in self._under_way if id != delegation.id),
        )

    def _deliver(self, delegation: Delegation) -> None:
        self._end(delegation)
        if not self.layout.text_in_positions:
            return
        delegation.result_micro_turn = self.micro_turn
        self._waiting_text.extend(self._tokenizer.encode_lane_text(result_text(delegation.result)))
        self._events.append(
            ResultEvent(
                micro_turn=self.micro_turn, delegation_id=delegation.id, text=delegation.result
            )
        )

    def _cancel_latest(self) -> None:
        if self._under_way:
            self._cancel(list(self._under_way.values())[-1])

    def _cancel(self, delegation: Delegation) -> None:
        if delegation.job is not None:
            delegation.job.cancel()
            self._drain_inbox()
        if delegation.state != "over":  # not submitted yet, or its result still waits
            self._close(delegation, "cancelled", text="cancelled")

    def _close(self, delegation: Delegation, status: Status, *, text: str) -> None:
        """End a delegation without the agent."""
        seq = len(delegation.events)
        self._receive(AgentEvent(delegation_id=delegation.id, seq=seq, status=status, text=text))

    def _end(self, delegation: Delegation) -> None:
        delegation.state = "over"
        del self._under_way[delegation.id]

    # --- events --------------------------------------------------------------------------------
    def _wait_for(self, delegation: Delegation) -> None:
        while delegation.state == "working":
            try:
                self._receive(self._inbox.get(timeout=self._config.timeout_s))
            except Empty:
                timeout = self._config.timeout_s
                self._close(delegation, "failed", text=f"no answer within {timeout:g} s")

    def _drain_inbox(self) -> None:
        while True:
            try:
                self._receive(self._inbox.get_nowait())
            except Empty:
                return

    def _receive(self, event: AgentEvent) -> None:
        delegation = self._under_way.get(event.delegation_id)
        if delegation is None:  # it was ended here in the meantime
            return
        recorded = DelegationEvent(micro_turn=self.micro_turn, event=event)
        delegation.events.append(recorded)
        self._events.append(recorded)
        if event.status == "final":
            delegation.state, delegation.result = "ready", event.text
        elif event.status in OVER:
            self._end(delegation)

    def _keep(self, words: list[TranscriptWord]) -> None:
        self.transcript.words += words
        self._events += [WordEvent(word=word) for word in words]

    def _pop_events(self) -> list[ConversationEvent]:
        events, self._events = self._events, []
        return events
