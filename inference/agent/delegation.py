"""One delegation of a conversation: its steps, its cards, and what the model is told of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

from microturn.inference.agent.agent import AgentEvent, Status
from microturn.inference.agent.cards import Card
from microturn.inference.agent.package import TypedMessage
from microturn.inference.agent.shared_work import SharedWork
from microturn.inference.transcript import Transcript

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
    frames: dict[str, NDArray[Any]] = field(default_factory=dict)  # the newest, by lane


@dataclass(kw_only=True)
class Delegation:
    """One request that the model handed over."""

    id: str
    micro_turn: int
    about: str
    work: SharedWork | None = None  # from when its agent got the conversation
    n_read: int = 0  # events of that work so far
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

    def copy(self) -> Delegation:
        """Return it as it is now; what is over does not change any more."""
        if self.is_over:
            return self
        return replace(
            self,
            events=list(self.events),
            cards=list(self.cards),
            results=list(self.results),
            waiting=deque(self.waiting),
            unsaid=list(self.unsaid),
        )

    @property
    def status(self) -> Status | None:
        return self.events[-1].event.status if self.events else None
