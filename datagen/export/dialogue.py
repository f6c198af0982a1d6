"""Converts a dialogue to two channels and segments of words by voice, as other toolkits expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microturn.datagen.labels.dialogue import LANES, WordLabel
from microturn.datagen.sets.shards import StoredDialogue

CHANNELS = {"user": "user", "agent": "agent", "background": "user"}  # the channel of each lane


@dataclass(frozen=True, kw_only=True)
class SpokenSegment:
    """Consecutive words of one voice."""

    id: str
    lane: str
    voice: str
    words: tuple[WordLabel, ...]

    @property
    def start_s(self) -> float:
        return self.words[0].start_s

    @property
    def end_s(self) -> float:
        return max(word.end_s for word in self.words)

    @property
    def duration_s(self) -> float:
        return round(self.end_s - self.start_s, 6)

    @property
    def timed_words(self) -> tuple[WordLabel, ...]:
        """The words whose times are known or interpolated."""
        return tuple(word for word in self.words if not word.is_unknown)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def segments_of(sample: StoredDialogue, join_s: float) -> list[SpokenSegment]:
    """Return all segments of a dialogue in the order of time."""
    segments: list[SpokenSegment] = []
    for lane in LANES:
        for number, words in enumerate(_runs(sample.labels.words.of(lane), join_s)):
            segments.append(
                SpokenSegment(
                    id=f"{sample.key}-{lane}-{number:03d}",
                    lane=lane,
                    voice=words[0].voice,
                    words=tuple(words),
                )
            )
    return sorted(segments, key=lambda segment: (segment.start_s, segment.id))


def _runs(words: Sequence[WordLabel], join_s: float) -> list[list[WordLabel]]:
    """Group words by voice, with a new group after each silence; voices may overlap."""
    open_runs: dict[str, list[WordLabel]] = {}
    runs: list[list[WordLabel]] = []
    for word in sorted(words, key=lambda item: (item.start_s, item.end_s)):
        run = open_runs.get(word.voice)
        if run is None or word.start_s - run[-1].end_s >= join_s:
            run = open_runs[word.voice] = []
            runs.append(run)
        run.append(word)
    return runs


def duration_of(sample: StoredDialogue) -> float:
    return round(sample.labels.duration_s, 6)
