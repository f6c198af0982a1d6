"""The boundary between a connection and a protocol: a codec for each connection.

A connection moves messages and knows none of their names. A codec turns messages of the client
into `ClientMessage`s or answers, and reports of the engine into messages; a new protocol is a new
codec and its path in `server.PROTOCOLS`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.inference.serve.report import MicroTurnReport
from microturn.model.streams.pcm import Audio

Json = dict[str, Any]


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
    """Instructions for the agent, before the first audio; they replace those of the server."""

    text: str


@dataclass(frozen=True, kw_only=True)
class CancelDelegation:
    """A request to end background work."""

    delegation_id: str


@dataclass(frozen=True, kw_only=True)
class Close:
    """The end of the conversation by the client."""


ClientMessage = MicrophoneAudio | ShownFrame | TypedText | Instructions | CancelDelegation | Close


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
    def from_json(cls, values: Json) -> ServerMessage:
        return cls(payload=json.dumps(values, separators=(",", ":"), ensure_ascii=False))


class WrongMessage(ValueError):
    """A wrong message of the client, with the client's own id of it."""

    def __init__(self, sentence: str, *, event_id: str | None = None) -> None:
        super().__init__(sentence)
        self.event_id = event_id


class ClientRefused(WrongMessage):
    """The connection has to end; the sentence says why and how to fix it."""


class Codec(Protocol):
    """The wire format of one connection, with the state of its conversation."""

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        """Select one of the client's WebSocket subprotocols, or none."""

    def decode(self, data: str | bytes) -> Sequence[ClientMessage | ServerMessage]:
        """Read a message into messages for the engine, and answers that are sent as they are.

        Raises ValueError for a wrong message, WrongMessage if it has an id, ClientRefused to end.
        """

    def greeting(self, session: str, *, warning: str) -> list[ServerMessage]:
        """The first messages of the server; `warning` is a sentence for the client, or empty."""

    def encode_report(self, report: MicroTurnReport, *, dropped_output: int) -> list[ServerMessage]:
        """Write one micro-turn; `dropped_output` counts dropped audio of the outbox so far."""

    def encode_dropped_output(
        self, micro_turns: Sequence[int], *, n_dropped: int
    ) -> list[ServerMessage]:
        """Write that the sound of these micro-turns was not sent; `n_dropped` counts all so far."""

    def encode_error(self, message: str, *, event_id: str | None) -> list[ServerMessage]:
        """Write one sentence about a failure, or a wrong message and the client's id of it."""

    def farewell(self, reason: str) -> list[ServerMessage]:
        """The last messages of the server."""
