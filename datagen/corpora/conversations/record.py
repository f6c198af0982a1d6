"""A conversation of a corpus: one JSON line of `conversations.jsonl`.

A *recorded* conversation has two sides on one clock, each with its own channel of sound. A
*scripted* dialogue has turns in an order, each a recording of the manifest; it has no clock. Times
are in seconds; keys of the file have no unit, as in the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.corpora.manifest import CONVERSATIONS_NAME as CONVERSATIONS_NAME
from microturn.datagen.corpora.utterance import (
    LAYOUT,
    SPLITS,
    STATED,
    UNKNOWN_LICENCE,
    AlignedWord,
    word_from_json,
    word_to_json,
)
from microturn.datagen.labels.time_classes import GIVEN

RECORDED, SCRIPTED = "recorded", "scripted"
KINDS: Final = (RECORDED, SCRIPTED)
ROLES: Final = ("user", "agent", "")  # "": either
TOLERANCE_S: Final = 0.01  # by which a time may exceed the recording

TimeSpan = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True, kw_only=True)
class Side:
    """One person of a recorded conversation: a channel of stored sound, and what is said on it.

    Words of unknown times are one entry with several words in its `text`: a segment of which no
    more is known. An entry without text is a sound of this person that is no word: a laugh, a
    cough, a broken or unclear word; its times are unknown too. A side without any words, or with
    segments, has `activity`, the spans in which it sounds.
    """

    speaker: str
    tar: str
    member: str
    offset: int
    size: int
    channel: int
    sample_rate: int  # of the stored file
    words: tuple[AlignedWord, ...] = ()
    activity: tuple[TimeSpan, ...] = ()
    role: str = ""  # whether the corpus says who is the agent; "": either may be

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {key: getattr(self, key) for key in _SIDE}
        if self.role:
            line["role"] = self.role
        line["words"] = [word_to_json(word, GIVEN) for word in self.words]
        if self.activity:
            line["activity"] = [list(span) for span in self.activity]
        return line

    @staticmethod
    def from_json(line: dict[str, Any]) -> Side:
        return Side(
            **{key: _typed(line[key], kind, key=key) for key, kind in _SIDE.items()},
            role=_one_of(line.get("role", ""), ROLES, key="role"),
            words=tuple(word_from_json(word, GIVEN) for word in line["words"]),
            activity=_spans(line.get("activity", ())),
        )


_SIDE: dict[str, type] = {
    "speaker": str,
    "tar": str,
    "member": str,
    "offset": int,
    "size": int,
    "channel": int,
    "sample_rate": int,
}


@dataclass(frozen=True, kw_only=True)
class ScriptedTurn:
    """A turn of a scripted dialogue: a recording of the manifest."""

    utterance: str  # its id
    speaker: str
    role: str = ""

    def to_json(self) -> dict[str, Any]:
        line = {"utterance": self.utterance, "speaker": self.speaker}
        return {**line, "role": self.role} if self.role else line

    @staticmethod
    def from_json(line: dict[str, Any]) -> ScriptedTurn:
        return ScriptedTurn(
            utterance=_typed(line["utterance"], str, key="utterance"),
            speaker=_typed(line["speaker"], str, key="speaker"),
            role=_one_of(line.get("role", ""), ROLES, key="role"),
        )


@dataclass(frozen=True, kw_only=True)
class CorpusConversation:
    """A recorded conversation, or a scripted dialogue."""

    id: str
    kind: str  # one of KINDS
    source: str  # the corpus
    split: str  # train, test or any; both people of a held-out one are in no other split
    language: str
    licence: str
    licence_from: str = STATED
    duration_s: float = 0.0  # of a recorded one
    sides: tuple[Side, ...] = ()  # two people of a recorded one
    others: tuple[Side, ...] = ()  # third voices in the same room
    turns: tuple[ScriptedTurn, ...] = ()  # of a scripted one
    redacted: tuple[TimeSpan, ...] = ()  # become silence of loss weight 0
    crosstalk_db: float | None = None  # one person on the other's channel, re their own level
    instructions: str = ""  # a prompt for the agent, where the corpus has one

    @property
    def speakers(self) -> tuple[str, ...]:
        """Return everybody who speaks, each once."""
        people = [side.speaker for side in (*self.sides, *self.others)]
        return tuple(dict.fromkeys((*people, *(turn.speaker for turn in self.turns))))

    def to_json(self) -> dict[str, Any]:
        """Return the line of this conversation; empty fields are left out."""
        line: dict[str, Any] = {key: getattr(self, key) for key in _TEXTS}
        if self.licence_from != STATED:
            line["licence_from"] = self.licence_from
        if self.kind == RECORDED:
            line["duration"] = self.duration_s
        for key in ("sides", "others", "turns"):
            if parts := getattr(self, key):
                line[key] = [part.to_json() for part in parts]
        if self.redacted:
            line["redacted"] = [list(span) for span in self.redacted]
        if self.crosstalk_db is not None:
            line["crosstalk_db"] = self.crosstalk_db
        if self.instructions:
            line["instructions"] = self.instructions
        return line

    @staticmethod
    def from_json(line: dict[str, Any]) -> CorpusConversation:
        """Read a line; a wrong or missing field raises KeyError, TypeError or ValueError."""
        crosstalk = line.get("crosstalk_db")
        found = CorpusConversation(
            **{key: _typed(line[key], str, key=key) for key in _TEXTS if key != "language"},
            language=language_tag(_typed(line["language"], str, key="language")),
            licence_from=_one_of(
                line.get("licence_from", STATED),
                (STATED, LAYOUT, UNKNOWN_LICENCE),
                key="licence_from",
            ),
            duration_s=float(line.get("duration", 0.0)),
            sides=tuple(map(Side.from_json, line.get("sides", ()))),
            others=tuple(map(Side.from_json, line.get("others", ()))),
            turns=tuple(map(ScriptedTurn.from_json, line.get("turns", ()))),
            redacted=_spans(line.get("redacted", ())),
            crosstalk_db=None if crosstalk is None else float(crosstalk),
            instructions=_typed(line.get("instructions", ""), str, key="instructions"),
        )
        _check(found)
        return found


_TEXTS: Final = ("id", "kind", "source", "split", "language", "licence")


def _check(conversation: CorpusConversation) -> None:
    _one_of(conversation.kind, KINDS, key="kind")
    _one_of(conversation.split, SPLITS, key="split")
    if conversation.kind == SCRIPTED:
        if len(conversation.turns) < 2:
            raise ValueError(
                f"a scripted dialogue needs two turns, it has {len(conversation.turns)}"
            )
        return
    if len(conversation.sides) != 2:
        raise ValueError(
            f"a recorded conversation has two sides, this one {len(conversation.sides)}; people "
            "beyond two belong to 'others'"
        )
    if conversation.duration_s <= 0:
        raise ValueError("field 'duration' must be positive")
    for side in (*conversation.sides, *conversation.others):
        _check_side(side, conversation.duration_s)
    for start_s, end_s in conversation.redacted:
        _check_span(start_s, end_s, conversation.duration_s)


def _check_side(side: Side, duration_s: float) -> None:
    if side.size <= 0 or side.offset < 0 or side.channel < 0 or side.sample_rate <= 0:
        raise ValueError(
            f"the side of {side.speaker!r}: 'offset', 'size', 'channel' and 'sample_rate' must not "
            "be negative, and a size and a rate are positive"
        )
    for word in side.words:
        _check_span(word.start_s, word.end_s, duration_s)
    for start_s, end_s in side.activity:
        _check_span(start_s, end_s, duration_s)
    starts = [word.start_s for word in side.words]
    if starts != sorted(starts):
        raise ValueError(f"the words of {side.speaker!r} are not in the order of time")


def _check_span(start_s: float, end_s: float, duration_s: float) -> None:
    if not 0 <= start_s < end_s <= duration_s + TOLERANCE_S:
        raise ValueError(f"times {start_s:g} to {end_s:g} s are not inside the recording")


def _spans(lines: Any) -> tuple[TimeSpan, ...]:
    return tuple((float(start), float(end)) for start, end in lines)


def _typed(value: object, kind: type, *, key: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"field {key!r} is {value!r}, not {kind.__name__}")
    return value


def _one_of(value: object, choices: tuple[str, ...], *, key: str) -> str:
    if value not in choices:
        raise ValueError(
            f"field {key!r} is {value!r}, not one of {', '.join(filter(None, choices))}"
        )
    return str(value)
