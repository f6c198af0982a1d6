"""Messages of the live engine to one client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from microturn.inference.conversation import ContextKind, ConversationEvent
from microturn.inference.micro_turn import MicroTurnOut


@dataclass(frozen=True, kw_only=True)
class MicroTurnReport:
    """A micro-turn is done: its output, its events, and how well the session keeps up.

    Micro-turns are counted on the clock of the client, dropped ones included. The last four count
    micro-turns since the session began.
    """

    micro_turn: int
    output: MicroTurnOut
    events: list[ConversationEvent]
    lag_ms: float  # from the last sample of the input to this output
    waiting: int  # micro-turns of input in the queue
    is_missing: bool = False  # this one went on without its audio
    n_passed: int = 0  # micro-turns directly before this one that were dropped
    missing_input: int = 0  # went on without their audio, which had not arrived in time
    dropped: int = 0  # got no answer, because too many waited
    too_late_input: int = 0  # of audio that came after its micro-turn had gone on without it
    deadline_missed: int = 0  # answered after their deadline


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One sentence for the client; `fatal` ends the session."""

    message: str
    fatal: bool
    event_id: str | None = None  # the client's id of the message that it is about


@dataclass(frozen=True, kw_only=True)
class ContextTaken:
    """Text of the client has become part of the conversation, before `micro_turn`."""

    kind: ContextKind
    micro_turn: int
    event_id: str | None


@dataclass(frozen=True, kw_only=True)
class WentBack:
    """The session went back at the client's request: the audio that comes now is `micro_turn`."""

    micro_turn: int


@dataclass(frozen=True, kw_only=True)
class BecameTwin:
    """The session has the past of another one now: the audio that comes next is `micro_turn`."""

    micro_turn: int


Done = ContextTaken | WentBack | BecameTwin
Report = MicroTurnReport | Problem | Done
Deliver = Callable[[Report], None]
