"""One dialogue as other toolkits see it: two channels, and segments of words by who says them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microturn.datagen.labels.dialogue import LANES, WordLabel
from microturn.datagen.sets.shards import StoredDialogue

CHANNELS = {"user": "user", "agent": "agent", "background": "user"}  # where a lane is heard


@dataclass(frozen=True, kw_only=True)
class SpokenSegment:
    """Words of one voice that follow each other."""

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
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def segments_of(sample: StoredDialogue, join_s: float) -> list[SpokenSegment]:
    """All segments of a dialogue in the order of time."""
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
    """Words grouped by voice, a new group after a silence; voices may overlap."""
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
