"""The boundary between a connection and a protocol: a codec for each connection.

A connection moves messages and knows none of their names. A codec turns messages of the client
into `ClientMessage`s or answers, and reports of the engine into messages; a new protocol is a new
codec and its path in `server.PROTOCOLS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.inference.conversation import ContextKind
from microturn.inference.serve.report import Done, MicroTurnReport
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

Json = dict[str, Any]
# Why a conversation ends: the client asked, its time was up, or anything else.
EndKind = Literal["asked", "expired", "broken"]


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What a codec knows of the server before its conversation."""

    layout: StreamLayout
    name: str  # of the model
    longest_s: float = 0.0  # of a conversation, 0: without an end
    resume_s: float = 0.0  # that a client whose connection was lost may take to return
    max_rewind: int = 0  # micro-turns that a client may take back


@dataclass(frozen=True, kw_only=True)
class MicrophoneAudio:
    """One micro-turn of the user's audio."""

    audio: Audio


@dataclass(frozen=True, kw_only=True)
class ShownFrame:
    """A frame (H, W, 3) for a lane of frames, such as `video`; it is seen until the next one."""

    lane: str
    frame: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class TypedText:
    """Words for `text_in`."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """Instructions for the agent, before the first audio; they replace those of the server.

    The model may be unable to read them. With `on_refusal` the sentence that says so goes there,
    and the conversation goes on without them.
    """

    text: str
    on_refusal: Callable[[str], None] | None = None


@dataclass(frozen=True, kw_only=True)
class ContextText:
    """Text for the conversation while it runs, answered with `ContextTaken` and the same id."""

    kind: ContextKind
    text: str
    delegation_id: str | None
    event_id: str | None


@dataclass(frozen=True, kw_only=True)
class DelegateToClient:
    """Before the first audio: the client itself answers what the model delegates."""


@dataclass(frozen=True, kw_only=True)
class CancelDelegation:
    """A request to end background work."""

    delegation_id: str


@dataclass(frozen=True, kw_only=True)
class GoBack:
    """Forget the last micro-turns of audio and all that came of them, answered with `WentBack`."""

    n_micro_turns: int


@dataclass(frozen=True, kw_only=True)
class Unplayed:
    """Micro-turns whose sound the user did not hear."""

    micro_turns: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Close:
    """The end of the conversation by the client."""


ClientMessage = (
    MicrophoneAudio
    | ShownFrame
    | TypedText
    | Instructions
    | ContextText
    | DelegateToClient
    | CancelDelegation
    | GoBack
    | Unplayed
    | Close
)


@dataclass(frozen=True, kw_only=True)
class ServerMessage:
    """One message on the wire: text or binary."""

    payload: str | bytes
    is_audio: bool = False  # dropped first when the connection is slow
    micro_turn: int | None = None  # whose output it is, for audio

    @property
    def n_bytes(self) -> int:
        """Size in memory, about: characters are counted as one byte each."""
        return len(self.payload)

    @classmethod
    def from_json(cls, values: Json, *, is_audio: bool = False) -> ServerMessage:
        payload = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        return cls(payload=payload, is_audio=is_audio)


class WrongMessage(ValueError):
    """A wrong message of the client, with the client's own id of it and a code for programs."""

    def __init__(self, sentence: str, *, event_id: str | None = None, code: str = "") -> None:
        super().__init__(sentence)
        self.event_id, self.code = event_id, code


class ClientRefused(WrongMessage):
    """The connection has to end; the sentence says why and how to fix it."""


def frame_shapes(layout: StreamLayout) -> dict[str, tuple[int, ...]]:
    """Shapes (H, W, 3) of the lanes that a client may send frames for, by name."""
    return {s.name: s.shape for s in layout.declared_lanes if s.kind == "frames" and s.positions}


class Codec(Protocol):
    """The wire format of one connection, with the state of its conversation."""

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        """Select one of the client's WebSocket subprotocols, or none."""

    def decode(self, data: str | bytes) -> Iterable[ClientMessage | ServerMessage]:
        """Read a message into messages for the engine, and answers that are sent as they are.

        They are carried out one by one; what comes after one that the engine refuses is not read.
        Raises ValueError for a wrong message, WrongMessage if it has an id, ClientRefused to end.
        """

    def greeting(self, session: str, *, warning: str) -> list[ServerMessage]:
        """The first messages of the server; `warning` is a sentence for the client, or empty."""

    def encode_report(
        self, report: MicroTurnReport, *, dropped_output: int
    ) -> Sequence[ServerMessage | Unplayed]:
        """Write one micro-turn; `dropped_output` counts dropped audio of the outbox so far.

        `Unplayed` is sound that is held back.
        """

    def encode_dropped_output(
        self, micro_turns: Sequence[int], *, n_dropped: int
    ) -> list[ServerMessage]:
        """Write that the sound of these micro-turns was not sent; `n_dropped` counts all so far."""

    @property
    def token(self) -> str:
        """What lets a client return after its connection was lost; empty: nothing does."""

    def welcome_back(self, *, n_read: int, n_lost: int) -> list[ServerMessage]:
        """Write that the client is back, and what it goes on after.

        The server has read `n_read` of its messages, and cannot send `n_lost` of its own again.
        """

    def become_twin(self, other: Codec) -> None:
        """Go on, before the first message, from what the client of `other` has sent so far.

        `other` has a token and is of the same protocol. `BecameTwin` comes when it has written all
        that belongs to the past of both.
        """

    def encode_done(self, done: Done) -> list[ServerMessage]:
        """Write that a request of the client was carried out."""

    def encode_error(self, error: WrongMessage) -> list[ServerMessage]:
        """Write one sentence about a failure, or a wrong message and the client's id of it."""

    def farewell(self, reason: str, *, kind: EndKind) -> list[ServerMessage]:
        """The last messages of the server."""
