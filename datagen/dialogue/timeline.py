"""The timeline of a dialogue: words, events and expectations of the agent.

Times are samples on the wall clock; `labels` gives them in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from microturn.datagen.labels.dialogue import (
    ControlLabel,
    EventLabel,
    ExpectLabel,
    TextLabel,
    TimelineLabels,
    WordLabel,
    WordLabels,
)
from microturn.datagen.labels.event_types import ACTS, check_confidence, check_event
from microturn.datagen.labels.time_classes import ALIGNED
from microturn.model.streams import LaneText

DIGITS: Final = 6  # of seconds in labels


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word that sounds in [start_sample, end_sample); `cut` says that it was broken off.

    Words of unknown times are one `Word`: they sound somewhere in its span.
    """

    text: str
    start_sample: int
    end_sample: int
    source: str  # the recording it comes from
    voice: str
    cut: bool = False
    times: str = ALIGNED  # one of TIME_CLASSES


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What the agent should do, and the window of samples in which its doing counts."""

    act: str
    window_samples: tuple[int, int]
    text: str = ""

    def __post_init__(self) -> None:
        if self.act not in ACTS:
            raise ValueError(f"expect.act={self.act!r} is not one of {', '.join(ACTS)}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something with a time; docs/events.md lists the types.

    `confidence` is 1 for an event that was placed; one that was found in a recording has less.
    """

    type: str
    start_sample: int
    end_sample: int
    speaker: str
    text: str = ""
    expect: Expect | None = None
    confidence: float = 1.0

    def __post_init__(self) -> None:
        check_event(self.type, None if self.expect is None else self.expect.act)
        check_confidence(self.confidence)

    def shifted(self, samples: int) -> Event:
        """Return the event so much later, in one piece with what it expects."""
        expect = self.expect
        if expect is not None:
            first, last = expect.window_samples
            expect = replace(expect, window_samples=(first + samples, last + samples))
        return replace(
            self,
            start_sample=self.start_sample + samples,
            end_sample=self.end_sample + samples,
            expect=expect,
        )


@dataclass(frozen=True, kw_only=True)
class TextArrival:
    """Text that reaches the agent from outside, such as a background result."""

    text: LaneText
    sample: int


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control token of the agent and the sample it belongs to."""

    token: str
    sample: int


@dataclass(kw_only=True)
class Timeline:
    """All words, events and texts of one dialogue (or of one segment of it)."""

    n_samples: int
    user: list[Word] = field(default_factory=list)
    agent: list[Word] = field(default_factory=list)
    background: list[Word] = field(default_factory=list)
    intended: list[Word] = field(default_factory=list)  # what the agent would have said unbroken
    controls: list[Control] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    text_in: list[TextArrival] = field(default_factory=list)
    without_loss: list[tuple[int, int]] = field(default_factory=list)

    def extend(self, other: Timeline) -> None:
        """Take over everything of another timeline on the same clock."""
        for name in _LISTS:
            getattr(self, name).extend(getattr(other, name))

    def sort(self) -> None:
        """Bring every list into the order of time."""
        for name in ("user", "agent", "background", "intended", "events"):
            getattr(self, name).sort(
                key=lambda item: (item.start_sample, item.end_sample, item.text)
            )
        self.text_in.sort(key=lambda item: item.sample)
        self.controls.sort(key=lambda item: item.sample)
        self.without_loss.sort()

    def words(self, lane: str) -> list[Word]:
        """Return the words of `user`, `agent` or `background`."""
        words: list[Word] = getattr(self, lane)
        return words

    def speaks(self, speaker: str, start: int, end: int) -> bool:
        """Whether a word of this speaker sounds somewhere in [start, end)."""
        words = self.words(speaker)
        return any(word.start_sample < end and start < word.end_sample for word in words)

    def stretches(self, speaker: str, *, join: int = 0) -> list[tuple[int, int]]:
        """Spans in which the speaker's words follow each other within `join` samples."""
        spans: list[tuple[int, int]] = []
        for word in sorted(self.words(speaker), key=lambda item: item.start_sample):
            if spans and word.start_sample - spans[-1][1] <= join:
                spans[-1] = (spans[-1][0], max(spans[-1][1], word.end_sample))
            else:
                spans.append((word.start_sample, word.end_sample))
        return spans

    def labels(self, sample_rate: int) -> TimelineLabels:
        """Return the same in seconds."""

        def seconds(sample: int) -> float:
            return round(sample / sample_rate, DIGITS)

        def words(items: Sequence[Word]) -> tuple[WordLabel, ...]:
            return tuple(
                WordLabel(
                    text=word.text,
                    start_s=seconds(word.start_sample),
                    end_s=seconds(word.end_sample),
                    source=word.source,
                    voice=word.voice,
                    cut=word.cut,
                    times=word.times,
                )
                for word in items
            )

        return TimelineLabels(
            words=WordLabels(
                user=words(self.user), agent=words(self.agent), background=words(self.background)
            ),
            intended_agent_words=words(self.intended),
            events=tuple(_event_label(event, seconds) for event in self.events),
            controls=tuple(
                ControlLabel(token=c.token, time_s=seconds(c.sample)) for c in self.controls
            ),
            text_in=tuple(
                TextLabel(time_s=seconds(t.sample), text=str(t.text)) for t in self.text_in
            ),
            without_loss=tuple((seconds(a), seconds(b)) for a, b in self.without_loss),
        )

    @staticmethod
    def from_labels(labels: TimelineLabels, *, sample_rate: int, n_samples: int) -> Timeline:
        """Return labels in samples."""

        def at(seconds: float) -> int:
            return round(seconds * sample_rate)

        def words(items: Sequence[WordLabel]) -> list[Word]:
            return [
                Word(
                    text=word.text,
                    start_sample=at(word.start_s),
                    end_sample=at(word.end_s),
                    source=word.source,
                    voice=word.voice,
                    cut=word.cut,
                    times=word.times,
                )
                for word in items
            ]

        return Timeline(
            n_samples=n_samples,
            user=words(labels.words.user),
            agent=words(labels.words.agent),
            background=words(labels.words.background),
            intended=words(labels.intended_agent_words),
            controls=[Control(token=c.token, sample=at(c.time_s)) for c in labels.controls],
            events=[_event(event, at) for event in labels.events],
            text_in=[TextArrival(text=t.read, sample=at(t.time_s)) for t in labels.text_in],
            without_loss=[(at(start_s), at(end_s)) for start_s, end_s in labels.without_loss],
        )


_LISTS: Final = (
    *("user", "agent", "background", "intended", "controls", "events", "text_in"),
    "without_loss",
)


def _event_label(event: Event, seconds: Callable[[int], float]) -> EventLabel:
    expect = None
    if event.expect is not None:
        first, last = event.expect.window_samples
        expect = ExpectLabel(
            act=event.expect.act,
            text=event.expect.text,
            window_s=(seconds(first), seconds(last)),
        )
    return EventLabel(
        type=event.type,
        start_s=seconds(event.start_sample),
        end_s=seconds(event.end_sample),
        speaker=event.speaker,
        text=event.text,
        expect=expect,
        confidence=event.confidence,
    )


def _event(label: EventLabel, at: Callable[[float], int]) -> Event:
    expect = None
    if label.expect is not None:
        first, last = label.expect.window_s
        expect = Expect(
            act=label.expect.act, text=label.expect.text, window_samples=(at(first), at(last))
        )
    return Event(
        type=label.type,
        start_sample=at(label.start_s),
        end_sample=at(label.end_s),
        speaker=label.speaker,
        text=label.text,
        expect=expect,
        confidence=label.confidence,
    )
