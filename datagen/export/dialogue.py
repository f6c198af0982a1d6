"""One dialogue as other toolkits see it: two channels, and segments of words by who says them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from microturn.datagen.sets.shards import StoredDialogue

LANES = ("user", "agent", "background")
CHANNELS = {"user": "user", "agent": "agent", "background": "user"}  # where a lane is heard


@dataclass(frozen=True, kw_only=True)
class SaidWord:
    """A word with its times in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class SpokenSegment:
    """Words of one voice that follow each other."""

    id: str
    lane: str
    voice: str
    words: tuple[SaidWord, ...]

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return max(word.end for word in self.words)

    @property
    def duration(self) -> float:
        return round(self.end - self.start, 6)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def segments_of(sample: StoredDialogue, join_s: float) -> list[SpokenSegment]:
    """All segments of a dialogue in the order of time."""
    segments: list[SpokenSegment] = []
    for lane in LANES:
        for number, words in enumerate(_runs(sample.json["words"][lane], join_s)):
            segments.append(
                SpokenSegment(
                    id=f"{sample.key}-{lane}-{number:03d}",
                    lane=lane,
                    voice=words[0]["voice"],
                    words=tuple(
                        SaidWord(text=w["text"], start=w["start"], end=w["end"]) for w in words
                    ),
                )
            )
    return sorted(segments, key=lambda segment: (segment.start, segment.id))


def _runs(words: Sequence[dict[str, Any]], join_s: float) -> list[list[dict[str, Any]]]:
    """Words grouped by voice, a new group after a silence; voices may overlap."""
    open_runs: dict[str, list[dict[str, Any]]] = {}
    runs: list[list[dict[str, Any]]] = []
    for word in sorted(words, key=lambda item: (item["start"], item["end"])):
        run = open_runs.get(word["voice"])
        if run is None or word["start"] - run[-1]["end"] >= join_s:
            run = open_runs[word["voice"]] = []
            runs.append(run)
        run.append(word)
    return runs


def duration_of(sample: StoredDialogue) -> float:
    return float(round(sample.json["n_micro_turns"] * sample.json["micro_turn_s"], 6))
