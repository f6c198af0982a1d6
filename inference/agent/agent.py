"""The interface between a conversation and its background agent.

A conversation hands over a context package and goes on; the agent answers with numbered events,
`accepted -> (progress | partial | card)* -> final | failed | cancelled`, from another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from microturn.inference.agent.cards import Card
from microturn.inference.agent.package import ContextPackage

Status = Literal["accepted", "progress", "partial", "final", "failed", "cancelled"]
OVER: Final[frozenset[Status]] = frozenset({"final", "failed", "cancelled"})
MAX_RESULT: Final = 4_000  # characters of one event; beyond that its text is cut


@dataclass(frozen=True, kw_only=True)
class AgentEvent:
    """One step of the work on a delegation; `seq` counts from 0 within it."""

    delegation_id: str
    seq: int
    status: Status
    text: str = ""
    cards: tuple[Card, ...] = ()  # shown from now on
    supersedes: str = ""  # a delegation of the same conversation that is no longer wanted


Emit = Callable[[AgentEvent], None]


class Job(Protocol):
    """Background work on one delegation."""

    def cancel(self) -> None:
        """End the work; a `cancelled` event follows unless it was over already."""


class BackgroundAgent(Protocol):
    """What a conversation delegates to; no call waits for the work."""

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        """Start work; events arrive through `emit`, from any thread."""

    def close(self) -> None:
        """Stop all work."""
