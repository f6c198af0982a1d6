"""What travels on the socket `/ws`: the only place with names and numbers of the wire.

Binary messages are little-endian 16-bit mono PCM at the rate of the layout, in any number of
samples from the client, one micro-turn at a time from the server. Text messages are JSON objects
with a `type`. Times are seconds on the clock of the conversation, which starts with its audio.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from microturn.inference.conversation import (
    ConversationEvent,
    DelegationEvent,
    ResultEvent,
    WordEvent,
)
from microturn.inference.serve.engine import Turn
from microturn.model.streams import StreamLayout

PROTOCOL_VERSION: Final = 1
PATH: Final = "/ws"
AUDIO_FORMAT: Final = "pcm16"
CHANNELS: Final = 1
MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_TEXT: Final = 1_000
MAX_ERRORS: Final = 20  # wrong messages before the connection is closed

# Close codes: 1000 done, 1008 not allowed, 1013 try again later, 1011 the server's fault.
CLOSE_DONE: Final = 1000
CLOSE_NOT_ALLOWED: Final = 1008
CLOSE_FAILED: Final = 1011
CLOSE_FULL: Final = 1013

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The client says what it is going to send."""


@dataclass(frozen=True, kw_only=True)
class TypedText:
    """Words for `text_in`."""

    text: str


@dataclass(frozen=True, kw_only=True)
class CancelDelegation:
    """End background work."""

    delegation_id: str


@dataclass(frozen=True, kw_only=True)
class Close:
    """The client is done."""


ClientMessage = Hello | TypedText | CancelDelegation | Close


def parse_client_message(text: str, layout: StreamLayout) -> ClientMessage:
    """Read a text message of the client; raises ValueError with one sentence."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("a text message has to be a JSON object; audio goes in binary") from error
    kind = values.get("type") if isinstance(values, dict) else None
    match kind:
        case "hello":
            return _check_hello(values, layout)
        case "text":
            return TypedText(text=_text(values, "text"))
        case "cancel":
            return CancelDelegation(delegation_id=_text(values, "delegation_id"))
        case "close":
            return Close()
    shown = json.dumps(kind)[:40]
    raise ValueError(f"message type {shown} is none of hello, text, cancel, close")


def _check_hello(values: Json, layout: StreamLayout) -> Hello:
    wanted = {"format": AUDIO_FORMAT, "sample_rate": layout.sample_rate, "channels": CHANNELS}
    for name, value in wanted.items():
        given = values.get(name, value)
        if given != value:
            raise ValueError(f"{name} {json.dumps(given)[:40]} is not taken here; send {value}")
    return Hello()


def _text(values: Json, name: str) -> str:
    text = values.get(name)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"message {values['type']!r} needs a text in {name!r}")
    if len(text) > MAX_TEXT:
        raise ValueError(f"{name} has {len(text)} characters; {MAX_TEXT} are the limit")
    return text


# --- server to client ------------------------------------------------------------------------
def hello(layout: StreamLayout, session: str) -> Json:
    """The first message: what the server takes and gives."""
    return {
        "type": "hello",
        "protocol": PROTOCOL_VERSION,
        "session": session,
        "format": AUDIO_FORMAT,
        "channels": CHANNELS,
        "sample_rate": layout.sample_rate,
        "samples_per_micro_turn": layout.samples_per_micro_turn,
        "micro_turn_ms": layout.micro_turn_ms,
        "layout": {**layout.to_dict(), "hash": layout.hash},
    }


def turn(done: Turn, dropped_output: int) -> Json:
    """One micro-turn; its audio follows as the next binary message."""
    return {
        "type": "turn",
        "micro_turn": done.micro_turn,
        "lag_ms": round(done.lag_ms, 1),
        "waiting": done.waiting,
        "late_input": done.late,
        "dropped_input": done.dropped,
        "dropped_output": dropped_output,
    }


def late(direction: str, dropped: int, layout: StreamLayout) -> Json:
    """Micro-turns had to be dropped; `dropped` counts all of them so far."""
    return {
        "type": "late",
        "direction": direction,
        "dropped": dropped,
        "dropped_s": seconds(dropped, layout),
    }


def missing(late: int, layout: StreamLayout) -> Json:
    """Sound did not arrive in time and the conversation went on; `late` counts all so far."""
    return {"type": "missing", "late": late, "late_s": seconds(late, layout)}


def event(happened: ConversationEvent, layout: StreamLayout) -> Json:
    """A word, a step of a delegation, or a result."""
    match happened:
        case WordEvent(word=word):
            time = seconds(word.micro_turn, layout)
            return {"type": "word", "side": word.side, "text": word.text, "time": time}
        case DelegationEvent(micro_turn=micro_turn, event=step):
            return {
                "type": "delegation",
                "id": step.delegation_id,
                "seq": step.seq,
                "status": step.status,
                "text": step.text,
                "time": seconds(micro_turn, layout),
            }
        case ResultEvent(micro_turn=micro_turn, delegation_id=delegation_id, text=text):
            time = seconds(micro_turn, layout)
            return {"type": "result", "id": delegation_id, "text": text, "time": time}


def error(message: str) -> Json:
    """One sentence about what went wrong."""
    return {"type": "error", "message": message}


def closed(reason: str) -> Json:
    """The last message before the server closes."""
    return {"type": "closed", "reason": reason}


def seconds(micro_turn: int, layout: StreamLayout) -> float:
    """Start of a micro-turn on the clock of the conversation."""
    return round(layout.duration_s(micro_turn), 6)
