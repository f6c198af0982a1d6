"""What happens in a dialogue, and when: words, events and what is expected of the agent.

Times are samples on the wall clock; seconds exist only in the JSON form. Needs nothing heavy:
evaluation reads dialogues through this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from microturn.datagen.dialogue.event_types import ACTS, check_event

FORMAT: Final = 1
DIGITS: Final = 6  # of seconds in JSON


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word that sounds in [start, end); `cut` says that it was broken off."""

    text: str
    start: int
    end: int
    source: str  # the recording it comes from
    voice: str
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What the agent should do, and the window of samples in which its doing counts."""

    act: str
    window: tuple[int, int]
    text: str = ""

    def __post_init__(self) -> None:
        if self.act not in ACTS:
            raise ValueError(f"expect.act={self.act!r} is not one of {', '.join(ACTS)}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something with a time; docs/events.md lists the types."""

    type: str
    start: int
    end: int
    speaker: str
    text: str = ""
    expect: Expect | None = None

    def __post_init__(self) -> None:
        check_event(self.type, None if self.expect is None else self.expect.act)


@dataclass(frozen=True, kw_only=True)
class TextArrival:
    """Text that reaches the agent from outside, such as a background result."""

    text: str
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

    def extend(self, other: Timeline) -> None:
        """Take over everything of another timeline on the same clock."""
        for name in _LISTS:
            getattr(self, name).extend(getattr(other, name))

    def sort(self) -> None:
        """Bring every list into the order of time."""
        for name in ("user", "agent", "background", "intended", "events"):
            getattr(self, name).sort(key=lambda item: (item.start, item.end, item.text))
        self.text_in.sort(key=lambda item: item.sample)
        self.controls.sort(key=lambda item: item.sample)

    def speaks(self, speaker: str, start: int, end: int) -> bool:
        """Whether a word of this speaker sounds somewhere in [start, end)."""
        words: list[Word] = getattr(self, speaker)
        return any(word.start < end and start < word.end for word in words)

    def stretches(self, speaker: str, *, join: int = 0) -> list[tuple[int, int]]:
        """Spans in which the speaker's words follow each other within `join` samples."""
        spans: list[tuple[int, int]] = []
        words: list[Word] = getattr(self, speaker)
        for word in sorted(words, key=lambda item: item.start):
            if spans and word.start - spans[-1][1] <= join:
                spans[-1] = (spans[-1][0], max(spans[-1][1], word.end))
            else:
                spans.append((word.start, word.end))
        return spans

    def to_json(self, sample_rate: int) -> dict[str, Any]:
        """The part of a sample's JSON that holds words, events and texts, in seconds."""

        def seconds(sample: int) -> float:
            return round(sample / sample_rate, DIGITS)

        def words(items: Sequence[Word]) -> list[dict[str, Any]]:
            return [_word_json(word, seconds(word.start), seconds(word.end)) for word in items]

        return {
            "words": {
                "user": words(self.user),
                "agent": words(self.agent),
                "background": words(self.background),
            },
            "intended_agent_words": words(self.intended),
            "events": [
                {
                    "type": event.type,
                    "start": seconds(event.start),
                    "end": seconds(event.end),
                    "speaker": event.speaker,
                    "text": event.text,
                    "expect": event.expect
                    and {
                        "act": event.expect.act,
                        "text": event.expect.text,
                        "window": [seconds(edge) for edge in event.expect.window],
                    },
                }
                for event in self.events
            ],
            "controls": [{"token": c.token, "time": seconds(c.sample)} for c in self.controls],
            "text_in": [{"time": seconds(t.sample), "text": t.text} for t in self.text_in],
        }

    @staticmethod
    def from_json(sample: Mapping[str, Any], *, sample_rate: int, n_samples: int) -> Timeline:
        """Read a sample's JSON back into samples."""

        def at(seconds: float) -> int:
            return round(seconds * sample_rate)

        def words(items: Sequence[Mapping[str, Any]]) -> Iterator[Word]:
            for item in items:
                yield Word(
                    text=item["text"],
                    start=at(item["start"]),
                    end=at(item["end"]),
                    source=item["source"],
                    voice=item["voice"],
                    cut=item.get("cut", False),
                )

        return Timeline(
            n_samples=n_samples,
            user=list(words(sample["words"]["user"])),
            agent=list(words(sample["words"]["agent"])),
            background=list(words(sample["words"]["background"])),
            intended=list(words(sample["intended_agent_words"])),
            controls=[Control(token=c["token"], sample=at(c["time"])) for c in sample["controls"]],
            events=[_event(item, at) for item in sample["events"]],
            text_in=[TextArrival(text=t["text"], sample=at(t["time"])) for t in sample["text_in"]],
        )


_LISTS: Final = ("user", "agent", "background", "intended", "controls", "events", "text_in")


def _word_json(word: Word, start: float, end: float) -> dict[str, Any]:
    line: dict[str, Any] = {
        "text": word.text,
        "start": start,
        "end": end,
        "source": word.source,
        "voice": word.voice,
    }
    if word.cut:
        line["cut"] = True
    return line


def _event(item: Mapping[str, Any], at: Any) -> Event:
    expect = item["expect"]
    return Event(
        type=item["type"],
        start=at(item["start"]),
        end=at(item["end"]),
        speaker=item["speaker"],
        text=item["text"],
        expect=expect
        and Expect(
            act=expect["act"],
            text=expect["text"],
            window=(at(expect["window"][0]), at(expect["window"][1])),
        ),
    )
