"""The labels of a dialogue: the `json` member of its shard, as dataclasses with times in seconds.

Simulation writes them, and everything else reads them, through this file alone. A dialogue whose
labels do not fit is refused in a sentence that names the dialogue and the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from microturn.datagen.labels.event_types import (
    EventType,
    check_confidence,
    check_event,
    register_event_type,
)
from microturn.datagen.labels.json_fields import optional, read_fields, write_fields
from microturn.datagen.labels.setting import ChannelLabel, RoomLabel, SceneLabel, SpanS
from microturn.datagen.labels.time_classes import ALIGNED, UNKNOWN, check_times
from microturn.datagen.labels.voice_names import VoiceTransform
from microturn.model.streams import LaneText, control_id, normalise, read_text

FORMAT: Final = 2
SAME_S: Final = 1e-3  # two times that mean the same moment
LANES: Final = ("user", "agent", "background")


@dataclass(frozen=True, kw_only=True)
class WordLabel:
    """A word that sounds from `start_s` to `end_s`; `cut` says that it was broken off.

    Words of unknown times are one label: they sound somewhere in its span.
    """

    text: str
    start_s: float
    end_s: float
    source: str = ""  # the recording it comes from
    voice: str = ""
    cut: bool = optional(False)
    times: str = optional(ALIGNED)  # one of TIME_CLASSES

    def __post_init__(self) -> None:
        check_times(self.times)

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows when its words sound within its span."""
        return self.times == UNKNOWN


@dataclass(frozen=True, kw_only=True)
class WordLabels:
    """The words of each voice."""

    user: tuple[WordLabel, ...] = ()
    agent: tuple[WordLabel, ...] = ()
    background: tuple[WordLabel, ...] = ()

    def of(self, lane: str) -> tuple[WordLabel, ...]:
        """Return the words of one of LANES."""
        words: tuple[WordLabel, ...] = getattr(self, lane)
        return words


@dataclass(frozen=True, kw_only=True)
class ExpectLabel:
    """What the agent should do, and the window in which its doing counts."""

    act: str
    text: str = ""
    window_s: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class EventLabel:
    """Something with a time, and what it expects of the agent (None: nothing).

    `confidence` is 1 for an event that was placed; one that was found in a recording has less.
    """

    type: str
    start_s: float
    end_s: float
    speaker: str = ""
    text: str = ""
    expect: ExpectLabel | None = None
    confidence: float = optional(1.0)

    def __post_init__(self) -> None:
        check_event(self.type, self.act or None)
        check_confidence(self.confidence)

    @property
    def is_placed(self) -> bool:
        """Whether it was put there, and so is certain; else it was found in a recording."""
        return self.confidence == 1.0

    @property
    def act(self) -> str:
        """The expected act; empty for none."""
        return self.expect.act if self.expect else ""

    @property
    def window_s(self) -> tuple[float, float] | None:
        return self.expect.window_s if self.expect else None

    @cached_property
    def expected(self) -> tuple[str, ...]:
        """The expected words, normalised."""
        return word_list(self.expect.text) if self.expect else ()

    @property
    def instant(self) -> bool:
        return self.end_s - self.start_s < SAME_S


@dataclass(frozen=True, kw_only=True)
class ControlLabel:
    """A control token of the agent."""

    token: str
    time_s: float

    def __post_init__(self) -> None:
        control_id(self.token)


@dataclass(frozen=True, kw_only=True)
class TextLabel:
    """Text that arrives on `text_in`; outside of its outer control tokens there are only words."""

    time_s: float
    text: str

    def __post_init__(self) -> None:
        read_text(self.text)

    @property
    def read(self) -> LaneText:
        """Its words and control tokens."""
        return read_text(self.text)

    @property
    def is_result(self) -> bool:
        """Whether it is a result of the background agent."""
        return self.read.is_result


@dataclass(frozen=True, kw_only=True)
class ItemLabel:
    """A recording that the dialogue uses."""

    id: str
    speaker: str
    voice: str
    perturbed: bool
    lane: str
    licence: str
    language: str = optional("")
    transform: VoiceTransform | None = optional(None)


@dataclass(frozen=True, kw_only=True)
class TimelineLabels:
    """Words, events and texts of a dialogue."""

    words: WordLabels = WordLabels()
    intended_agent_words: tuple[WordLabel, ...] = ()  # without any interruption
    events: tuple[EventLabel, ...] = ()
    controls: tuple[ControlLabel, ...] = ()
    text_in: tuple[TextLabel, ...] = ()
    without_loss: tuple[SpanS, ...] = optional(())  # nothing is learned of the agent there


@dataclass(frozen=True, kw_only=True)
class DialogueLabels(TimelineLabels):
    """Everything that is known of one dialogue."""

    format: int = FORMAT
    seed: int
    index: int
    split: str
    layout_hash: str
    sample_rate: int
    n_micro_turns: int
    micro_turn_s: float
    families: tuple[str, ...]
    voice: str  # of the user
    items: tuple[ItemLabel, ...]
    room: RoomLabel
    channel: ChannelLabel
    scene: SceneLabel | None = optional(None)
    event_types: tuple[EventType, ...] = optional(())  # those that did not ship

    @property
    def duration_s(self) -> float:
        return self.n_micro_turns * self.micro_turn_s

    @property
    def n_samples(self) -> int:
        return round(self.duration_s * self.sample_rate)

    def to_json(self) -> dict[str, Any]:
        """Return the `json` member."""
        values: dict[str, Any] = write_fields(self)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, where: str) -> DialogueLabels:
        """Read a `json` member and register the event types that it brings.

        Raises ValueError that begins with `where`, the name of the dialogue.
        """
        if values.get("format") != FORMAT:
            raise ValueError(
                f"{where}: labels of format {values.get('format')}, but this code reads format "
                f"{FORMAT}; simulate the set again"
            )
        for number, entry in enumerate(values.get("event_types", ())):
            path = f"event_types[{number}]"
            register_event_type(read_fields(EventType, entry, where=where, path=path))
        return read_fields(cls, dict(values), where=where)


def word_list(text: str) -> tuple[str, ...]:
    """Return the normalised words of a text."""
    return tuple(normalise(text).split())
