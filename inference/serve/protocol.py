"""Version 2 of the protocol on the socket `/ws`: the only place with its names and numbers.

Binary messages are little-endian 16-bit mono PCM at the rate of the layout, in any number of
samples from the client, one micro-turn at a time from the server. Text messages are JSON objects
with a `type`. Times are seconds on the clock of the conversation, which starts with its audio.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Final

import numpy as np

from microturn.inference.agent.cards import card_to_json
from microturn.inference.agent.delegation import CardEvent, DelegationEvent, ResultEvent
from microturn.inference.audio import Reassembler, encode_pcm16
from microturn.inference.conversation import ConversationEvent, UtteranceEndEvent, WordEvent
from microturn.inference.serve.codec import (
    CancelDelegation,
    ClientMessage,
    ClientRefused,
    Close,
    Codec,
    EndKind,
    GoBack,
    Instructions,
    Json,
    MicrophoneAudio,
    ServedModel,
    ServerMessage,
    ShownFrame,
    TypedText,
    WrongMessage,
    frame_shapes,
)
from microturn.inference.serve.report import ContextTaken, Done, MicroTurnReport, WentBack
from microturn.inference.transcript import micro_turns_to_s

PROTOCOL_VERSION: Final = 2
PATH: Final = "/ws"
AUDIO_FORMAT: Final = "pcm16"
CHANNELS: Final = 1
MAX_TEXT_LENGTH: Final = 1_000
_MAX_JSON_LENGTH: Final = 16_384  # of a message without a frame


class MicroturnCodec:
    """The protocol of `/ws` on one connection."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._layout = layout = served.layout
        self._token = secrets.token_urlsafe(16)
        self._pieces = Reassembler(layout.samples_per_micro_turn)
        # Reading JSON takes time and memory that its length says nothing of.
        pixels = [math.prod(shape) for shape in frame_shapes(layout).values()]
        self._max_json_length = _MAX_JSON_LENGTH + 4 * -(-max(pixels, default=0) // 3)
        self._greeted = False  # the client has sent its hello

    # --- client to server ----------------------------------------------------------------------
    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return None

    def decode(self, data: str | bytes) -> list[ClientMessage]:
        if isinstance(data, bytes):
            self._require_hello()
            return [MicrophoneAudio(audio=audio) for audio in self._pieces.add_pcm16(data)]
        if len(data) > self._max_json_length:
            raise ValueError(
                f"a text message has {len(data)} characters; send at most {self._max_json_length}, "
                "and audio in binary"
            )
        values = _parse_object(data)
        kind = values.get("type")
        if kind == _HELLO:
            self._check_hello(values)
            asked = _text_field(values, "instructions") if "instructions" in values else ""
            return [Instructions(text=asked)] if asked else []
        self._require_hello()
        if kind == _FRAME:
            return [self._shown_frame(values)]
        if not isinstance(kind, str) or kind not in _DECODERS:
            names = ", ".join((_HELLO, _FRAME, *_DECODERS))
            raise ValueError(f"message type {json.dumps(kind)[:40]} is none of {names}")
        return [_DECODERS[kind](values)]

    def _require_hello(self) -> None:
        if not self._greeted:
            raise ClientRefused(
                f"this server speaks protocol {PROTOCOL_VERSION}: begin with the message "
                f'{{"type": "hello", "protocol": {PROTOCOL_VERSION}}}, see docs/socket.md'
            )

    def _check_hello(self, values: Json) -> None:
        version = values.get("protocol", 1)
        if version != PROTOCOL_VERSION:
            raise ClientRefused(
                f"protocol {json.dumps(version)[:40]} is not supported here; update the client "
                f"to protocol {PROTOCOL_VERSION}, see docs/socket.md"
            )
        expected = {
            "format": AUDIO_FORMAT,
            "sample_rate": self._layout.sample_rate,
            "channels": CHANNELS,
        }
        for name, value in expected.items():
            offered = values.get(name, value)
            if offered != value:
                raise ValueError(
                    f"{name} {json.dumps(offered)[:40]} is not supported here; send {value}"
                )
        self._greeted = True

    def _shown_frame(self, values: Json) -> ShownFrame:
        """Decode a frame of any lane of frames of the layout."""
        shapes = frame_shapes(self._layout)
        lane = values.get("lane")
        if not isinstance(lane, str) or lane not in shapes:
            lanes = ", ".join(shapes) or "none"
            raise ValueError(
                f"frame: lane {json.dumps(lane)[:40]} takes no frames; lanes of this model that "
                f"do: {lanes}"
            )
        shape, data = shapes[lane], values.get("data")
        try:
            pixels = base64.b64decode(data if isinstance(data, str) else "", validate=True)
        except (binascii.Error, ValueError):
            pixels = b""
        if len(pixels) != math.prod(shape):
            raise ValueError(
                f"frame: data of {lane} has to be base64 of {math.prod(shape)} bytes, "
                f"{shape[0]} x {shape[1]} pixels of red, green and blue"
            )
        return ShownFrame(lane=lane, frame=np.frombuffer(pixels, np.uint8).reshape(shape))

    # --- server to client ----------------------------------------------------------------------
    def greeting(self, session: str, *, warning: str) -> list[ServerMessage]:
        layout = self._layout
        hello: Json = {
            "type": "hello",
            "protocol": PROTOCOL_VERSION,
            "session": session,
            "token": self._token,
            "resume_s": self._served.resume_s,
            "max_rewind": self._served.max_rewind,
            "format": AUDIO_FORMAT,
            "channels": CHANNELS,
            "sample_rate": layout.sample_rate,
            "samples_per_micro_turn": layout.samples_per_micro_turn,
            "micro_turn_ms": layout.micro_turn_ms,
            "frames": {lane: shape[:2] for lane, shape in frame_shapes(layout).items()},
            "layout": {**layout.to_dict(), "hash": layout.hash},
        }
        greeting = [hello, {"type": "warning", "message": warning}] if warning else [hello]
        return [ServerMessage.from_json(values) for values in greeting]

    def encode_report(self, report: MicroTurnReport, *, dropped_output: int) -> list[ServerMessage]:
        micro_turn = {
            "type": "micro_turn",
            "micro_turn": report.micro_turn,
            "lag_ms": round(report.lag_ms, 1),
            "waiting": report.waiting,
            "missing_input": report.missing_input,
            "dropped_input": report.dropped,
            "dropped_output": dropped_output,
            "too_late_input": report.too_late_input,
            "deadline_missed": report.deadline_missed,
        }
        return [
            *self._new_losses(report),
            ServerMessage.from_json(micro_turn),
            ServerMessage(payload=encode_pcm16(report.output.audio), is_audio=True),
            *(ServerMessage.from_json(self._event(event)) for event in report.events),
        ]

    def encode_dropped_output(
        self, micro_turns: Sequence[int], *, n_dropped: int
    ) -> list[ServerMessage]:
        ranges = [[k, k + 1] for k in micro_turns]
        return [ServerMessage.from_json(self._dropped("output", n_dropped, ranges))]

    @property
    def token(self) -> str:
        return self._token if self._greeted else ""

    def welcome_back(self, *, n_read: int, n_lost: int) -> list[ServerMessage]:
        resumed = {"type": "resumed", "received": n_read, "lost": n_lost}
        return [ServerMessage.from_json(resumed)]

    def become_twin(self, other: Codec) -> None:
        assert isinstance(other, MicroturnCodec)
        self._pieces = deepcopy(other._pieces)

    def encode_done(self, done: Done) -> list[ServerMessage]:
        if isinstance(done, ContextTaken):
            return []  # this protocol sends no such text
        if isinstance(done, WentBack):
            self._pieces = Reassembler(self._layout.samples_per_micro_turn)
        time_s = micro_turns_to_s(done.micro_turn, self._layout)
        kind = "rewound" if isinstance(done, WentBack) else "forked"
        values = {"type": kind, "micro_turn": done.micro_turn, "time_s": time_s}
        return [ServerMessage.from_json(values)]

    def encode_error(self, error: WrongMessage) -> list[ServerMessage]:
        code = {"code": error.code} if error.code else {}
        return [ServerMessage.from_json({"type": "error", **code, "message": str(error)})]

    def farewell(self, reason: str, *, kind: EndKind) -> list[ServerMessage]:
        return [ServerMessage.from_json({"type": "closed", "reason": reason})]

    def _new_losses(self, report: MicroTurnReport) -> list[ServerMessage]:
        """Messages about dropped micro-turns before this one, and about its own missing input."""
        messages, index = [], report.micro_turn
        if report.n_passed:
            ranges = [[index - report.n_passed, index]]
            messages.append(self._dropped("input", report.dropped, ranges))
        if report.is_missing:
            messages.append(
                {
                    "type": "missing_input",
                    "ranges": [[index, index + 1]],
                    "missing": report.missing_input,
                    "missing_s": micro_turns_to_s(report.missing_input, self._layout),
                }
            )
        return [ServerMessage.from_json(message) for message in messages]

    def _dropped(self, direction: str, n_dropped: int, ranges: list[list[int]]) -> Json:
        return {
            "type": "dropped",
            "direction": direction,
            "ranges": ranges,
            "dropped": n_dropped,
            "dropped_s": micro_turns_to_s(n_dropped, self._layout),
        }

    def _event(self, event: ConversationEvent) -> Json:
        """Encode an event of the conversation."""
        match event:
            case WordEvent(word=word):
                time_s = micro_turns_to_s(word.micro_turn, self._layout)
                return {"type": "word", "side": word.side, "text": word.text, "time_s": time_s}
            case DelegationEvent(micro_turn=micro_turn, event=step, about=about):
                return {
                    "type": "delegation",
                    "id": step.delegation_id,
                    "seq": step.seq,
                    "status": step.status,
                    "text": step.text,
                    "about": about,
                    "time_s": micro_turns_to_s(micro_turn, self._layout),
                }
            case CardEvent(micro_turn=micro_turn, delegation_id=delegation_id, number=number):
                return {
                    "type": "card",
                    "id": delegation_id,
                    "card": number,
                    "time_s": micro_turns_to_s(micro_turn, self._layout),
                    **card_to_json(event.card),
                }
            case ResultEvent(micro_turn=micro_turn, delegation_id=delegation_id):
                return {
                    "type": "result",
                    "id": delegation_id,
                    "status": event.status,
                    "text": event.text,
                    "time_s": micro_turns_to_s(micro_turn, self._layout),
                }
            case UtteranceEndEvent(micro_turn=micro_turn):
                return {
                    "type": "utterance_end",
                    "time_s": micro_turns_to_s(micro_turn, self._layout),
                }


def _parse_object(text: str) -> Json:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("a text message has to be a JSON object; audio goes in binary") from error
    return values if isinstance(values, dict) else {}


def _text_field(values: Json, name: str) -> str:
    text = values.get(name)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"message {values['type']!r} needs a text in {name!r}")
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"{name} has {len(text)} characters; send at most {MAX_TEXT_LENGTH}")
    return text


def _count_field(values: Json, name: str) -> int:
    count = values.get(name)
    if type(count) is not int or count < 1:
        raise ValueError(f"message {values['type']!r} needs a number from 1 on in {name!r}")
    return count


_HELLO: Final = "hello"
_FRAME: Final = "frame"
# Messages of the client after its hello, by type.
_DECODERS: Final[Mapping[str, Callable[[Json], ClientMessage]]] = {
    "text": lambda values: TypedText(text=_text_field(values, "text")),
    "cancel": lambda values: CancelDelegation(delegation_id=_text_field(values, "delegation_id")),
    "rewind": lambda values: GoBack(n_micro_turns=_count_field(values, "micro_turns")),
    "close": lambda _: Close(),
}
