"""The context package: everything that a background agent may need to know about its conversation.

It is handed over whole, not as a query: an agent that can read finds out by itself what is asked.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.inference.transcript import TranscriptWord


@dataclass(frozen=True, kw_only=True)
class TypedMessage:
    """A text that the user typed."""

    text: str
    micro_turn: int


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """What the model was told about an earlier delegation."""

    delegation_id: str
    status: str
    text: str
    micro_turn: int


@dataclass(frozen=True, kw_only=True)
class PendingWork:
    """Another delegation that is still being worked on."""

    delegation_id: str
    about: str  # the user's last words before it
    progress: str  # the newest step that its agent told
    micro_turn: int  # when the model delegated


@dataclass(frozen=True, kw_only=True)
class Still:
    """The newest picture of a lane of frames, as PNG."""

    lane: str
    png: bytes

    @classmethod
    def of(cls, lane: str, frame: NDArray[np.uint8]) -> Still:
        """Compress a frame (H, W, 3)."""
        height, width, _ = frame.shape
        rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(frame))
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
        return cls(
            lane=lane,
            png=b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks),
        )


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


@dataclass(frozen=True, kw_only=True)
class ContextPackage:
    """A conversation up to the moment at which the agent reads it."""

    delegation_id: str
    micro_turn: int  # when the model delegated
    micro_turn_ms: int
    words: tuple[TranscriptWord, ...]  # both sides, the whole conversation; unplayed ones marked
    asked_after: int = 0  # words up to this boundary were there for an earlier delegation
    typed: tuple[TypedMessage, ...] = ()
    results: tuple[EarlierResult, ...] = ()
    pending: tuple[PendingWork, ...] = ()
    instructions: str = ""
    speakable: tuple[str, ...] | None = None  # the words that the voice can say; None: any
    text_budget: int = 0  # tokens of `text_in` that the result may have
    still: Still | None = None

    def seconds(self, micro_turn: int) -> float:
        """Convert a boundary between micro-turns to seconds."""
        return round(micro_turn * self.micro_turn_ms / 1000, 6)

    @property
    def asked(self) -> list[tuple[str, int]]:
        """The user's words, heard and typed, in order, each with its boundary."""
        heard = [(word.text, word.micro_turn) for word in self.words if word.side == "user"]
        typed = [
            (word, message.micro_turn)
            for message in self.typed
            for word in message.text.lower().split()
        ]
        return sorted([*heard, *typed], key=lambda word: word[1])

    def to_json(self) -> dict[str, Any]:
        """Write the package with times in seconds, for agents in other processes."""
        s, still = self.seconds, self.still
        return {
            "delegation_id": self.delegation_id,
            "time_s": s(self.micro_turn),
            "micro_turn_ms": self.micro_turn_ms,
            "asked_after_s": s(self.asked_after),
            "words": [
                {"side": w.side, "text": w.text, "time_s": s(w.micro_turn)}
                | ({} if w.played else {"played": False})
                for w in self.words
            ],
            "typed": [{"text": t.text, "time_s": s(t.micro_turn)} for t in self.typed],
            "results": [
                {"id": r.delegation_id, "status": r.status, "text": r.text}
                | {"time_s": s(r.micro_turn)}
                for r in self.results
            ],
            "pending": [
                {"id": p.delegation_id, "about": p.about, "progress": p.progress}
                | {"time_s": s(p.micro_turn)}
                for p in self.pending
            ],
            "instructions": self.instructions,
            "speakable": "open" if self.speakable is None else list(self.speakable),
            "text_budget": self.text_budget,
            "still": still
            and {"lane": still.lane, "png": base64.b64encode(still.png).decode("ascii")},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ContextPackage:
        """Read what `to_json` wrote."""
        ms = values["micro_turn_ms"]

        def at(entry: Mapping[str, Any], name: str = "time_s") -> int:
            return round(entry[name] * 1000 / ms)

        speakable, still = values["speakable"], values["still"]
        return cls(
            delegation_id=values["delegation_id"],
            micro_turn=at(values),
            micro_turn_ms=ms,
            asked_after=at(values, "asked_after_s"),
            words=tuple(
                TranscriptWord(
                    side=w["side"], text=w["text"], micro_turn=at(w), played=w.get("played", True)
                )
                for w in values["words"]
            ),
            typed=tuple(TypedMessage(text=t["text"], micro_turn=at(t)) for t in values["typed"]),
            results=tuple(
                EarlierResult(
                    delegation_id=r["id"], status=r["status"], text=r["text"], micro_turn=at(r)
                )
                for r in values["results"]
            ),
            pending=tuple(
                PendingWork(
                    delegation_id=p["id"],
                    about=p["about"],
                    progress=p["progress"],
                    micro_turn=at(p),
                )
                for p in values["pending"]
            ),
            instructions=values["instructions"],
            speakable=None if speakable == "open" else tuple(speakable),
            text_budget=values["text_budget"],
            still=still and Still(lane=still["lane"], png=base64.b64decode(still["png"])),
        )
