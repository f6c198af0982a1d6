"""Messages of the live engine to one client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from microturn.inference.conversation import ConversationEvent
from microturn.inference.micro_turn import MicroTurnOut


@dataclass(frozen=True, kw_only=True)
class MicroTurnReport:
    """A micro-turn is done: its output, its events, and how well the session keeps up.

    The last three count micro-turns since the session began.
    """

    micro_turn: int
    output: MicroTurnOut
    events: list[ConversationEvent]
    lag_ms: float  # from the last sample of the input to this output
    waiting: int  # micro-turns of input in the queue
    missing_input: int = 0  # went on without their audio, which had not arrived in time
    dropped: int = 0  # waiting input thrown away because the queue overflowed
    deadline_missed: int = 0  # answered after their deadline


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One sentence for the client; `fatal` ends the session."""

    message: str
    fatal: bool


Deliver = Callable[[MicroTurnReport | Problem], None]
