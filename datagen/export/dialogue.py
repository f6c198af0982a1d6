"""Converts a dialogue to two channels and segments of words by voice, as other toolkits expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from microturn.datagen.labels.dialogue import LANES, WordLabel
from microturn.datagen.sets.shards import StoredDialogue

UNDETERMINED = "und"  # ISO 639 for a language that nobody stated
CHANNELS = {"user": "user", "agent": "agent", "background": "user"}  # the channel of each lane


@dataclass(frozen=True, kw_only=True)
class SpokenSegment:
    """Consecutive words of one voice."""

    id: str
    lane: str
    voice: str
    language: str  # of its recordings; "und" where the set does not say
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
    languages = {item.id: item.language for item in sample.labels.items}
    for lane in LANES:
        runs = _runs(sample.labels.words.of(lane), join_s, languages)
        for number, words in enumerate(runs):
            segments.append(
                SpokenSegment(
                    id=f"{sample.key}-{lane}-{number:03d}",
                    lane=lane,
                    voice=words[0].voice,
                    language=languages.get(words[0].source) or UNDETERMINED,
                    words=tuple(words),
                )
            )
    return sorted(segments, key=lambda segment: (segment.start_s, segment.id))


def _runs(
    words: Sequence[WordLabel], join_s: float, languages: Mapping[str, str]
) -> list[list[WordLabel]]:
    """Group words by voice and language, anew after each silence; voices may overlap."""
    open_runs: dict[tuple[str, str], list[WordLabel]] = {}
    runs: list[list[WordLabel]] = []
    for word in sorted(words, key=lambda item: (item.start_s, item.end_s)):
        key = (word.voice, languages.get(word.source, ""))
        run = open_runs.get(key)
        if run is None or word.start_s - run[-1].end_s >= join_s:
            run = open_runs[key] = []
            runs.append(run)
        run.append(word)
    return runs


def duration_of(sample: StoredDialogue) -> float:
    return round(sample.labels.duration_s, 6)
