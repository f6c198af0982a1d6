"""The scripted side of a dialogue: its events, what each expects, and what the agent recorded.

Scoring reads this and nothing else of a sample, so a dialogue can be written by hand in a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from microturn.datagen.dialogue.event_types import check_event, event_type
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.model.streams import DELEGATE, SPECIAL_TOKENS, StreamLayout, normalise

_SAME_S = 1e-3  # two times of one JSON file that mean the same moment


@dataclass(frozen=True, kw_only=True)
class Event:
    """One entry of the timeline; `act` is empty where nothing is expected of the agent."""

    type: str
    start_s: float
    end_s: float
    speaker: str = ""
    text: str = ""
    act: str = ""
    expected: tuple[str, ...] = ()
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_event(self.type, self.act or None)

    @property
    def instant(self) -> bool:
        return self.end_s - self.start_s < _SAME_S


@dataclass(frozen=True, kw_only=True)
class Message:
    """Text that arrives on `text_in`."""

    time_s: float
    text: str

    @property
    def is_result(self) -> bool:
        return self.text.split()[:1] == ["<bg>"]


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """What evaluation knows of one dialogue."""

    key: str
    duration_s: float
    micro_turn_s: float
    events: tuple[Event, ...]
    agent_words: tuple[SpokenWord, ...]
    user_words: tuple[SpokenWord, ...] = ()
    background_words: tuple[SpokenWord, ...] = ()
    messages: tuple[Message, ...] = ()
    delegates_s: tuple[float, ...] = ()  # when the recorded agent delegated
    families: tuple[str, ...] = ()
    # The whole `json` member, for what only one benchmark reads (rooms, lines, intended words).
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, key: str, meta: Mapping[str, Any], layout: StreamLayout) -> Dialogue:
        """Read the `json` member of a sample; raises ValueError that names what is missing."""
        micro_turn_s = layout.micro_turn_s
        try:
            words = meta["words"]
            return cls(
                key=key,
                duration_s=meta["n_micro_turns"] * micro_turn_s,
                micro_turn_s=micro_turn_s,
                events=tuple(
                    sorted((_event(e) for e in meta["events"]), key=lambda e: (e.start_s, e.end_s))
                ),
                agent_words=read_words(words.get("agent", ())),
                user_words=read_words(words.get("user", ())),
                background_words=read_words(words.get("background", ())),
                messages=tuple(
                    Message(time_s=float(m["time"]), text=str(m["text"]))
                    for m in sorted(meta.get("text_in", ()), key=lambda m: float(m["time"]))
                ),
                delegates_s=tuple(
                    sorted(
                        float(control["time"])
                        for control in meta.get("controls", ())
                        if control["token"] == SPECIAL_TOKENS[DELEGATE]
                    )
                ),
                families=tuple(meta.get("families", ())),
                raw=meta,
            )
        except KeyError as error:
            raise ValueError(f"dialogue {key}: its json member has no {error}") from error

    def of_type(self, *types: str) -> list[Event]:
        """The events of these types; raises ValueError for a type that does not exist."""
        for name in types:
            event_type(name)
        return [event for event in self.events if event.type in types]


def word_list(text: str) -> tuple[str, ...]:
    """Normalised words of a text."""
    return tuple(normalise(text).split())


def read_words(entries: Sequence[Mapping[str, Any]]) -> tuple[SpokenWord, ...]:
    """Word entries of the JSON in order; one that holds several words shares its time evenly."""
    spoken: list[SpokenWord] = []
    for entry in sorted(entries, key=lambda e: float(e["start"])):
        pieces = word_list(str(entry["text"]))
        start, end = float(entry["start"]), float(entry["end"])
        step = (end - start) / max(len(pieces), 1)
        spoken += [
            SpokenWord(text=piece, start_s=start + i * step, end_s=start + (i + 1) * step)
            for i, piece in enumerate(pieces)
        ]
    return tuple(spoken)


def _event(entry: Mapping[str, Any]) -> Event:
    expect = entry.get("expect") or {}
    window = expect.get("window")
    return Event(
        type=str(entry["type"]),
        start_s=float(entry["start"]),
        end_s=float(entry["end"]),
        speaker=str(entry.get("speaker") or ""),
        text=str(entry.get("text") or ""),
        act=str(expect.get("act") or ""),
        expected=word_list(str(expect.get("text") or "")),
        window=(float(window[0]), float(window[1])) if window else None,
    )
