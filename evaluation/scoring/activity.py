"""When an agent speaks: energy voice activity of its own, clean channel.

One channel without noise needs no model: a frame is speech when it is loud enough in absolute
terms and against the loud frames of the same recording, clicks dropped and short dips bridged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.config import ActivityConfig

Span = tuple[float, float]  # start and end in seconds

# Levels are powers of full scale; this floor keeps the logarithm finite and is far below speech.
_LEVEL_FLOOR_DBFS = -120.0
_LOUD_PERCENTILE = 95.0
_EDGE_S = 1e-6  # times are sums of floats; an edge is met when missed by less


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Frames with speech."""

    frames: NDArray[np.bool_]
    frame_s: float
    utterance_gap_s: float

    @classmethod
    def of(cls, audio: NDArray[np.float32], sample_rate: int, config: ActivityConfig) -> Activity:
        """Voice activity of one clean channel."""
        frame = sample_rate * config.frame_ms // 1000
        levels = frame_levels_dbfs(audio, frame)
        audible = levels[levels >= config.threshold_dbfs]
        threshold = config.threshold_dbfs
        if len(audible):
            loud = float(np.percentile(audible, _LOUD_PERCENTILE))
            threshold = max(threshold, loud - config.below_loud_db)
        frames = levels >= threshold
        frames = _bridge_gaps(frames, -(-config.hang_over_ms // config.frame_ms))
        frames = ~_bridge_gaps(~frames, -(-config.shortest_ms // config.frame_ms), at_edges=True)
        return cls(
            frames=frames,
            frame_s=frame / sample_rate,
            utterance_gap_s=config.utterance_gap_ms / 1000,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "n_frames": len(self.frames),
            "frame_s": self.frame_s,
            "utterance_gap_s": self.utterance_gap_s,
            "runs": [list(run) for run in _edges(self.frames)],
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Activity:
        frames = np.zeros(entry["n_frames"], np.bool_)
        for start, end in entry["runs"]:
            frames[start:end] = True
        return cls(
            frames=frames, frame_s=entry["frame_s"], utterance_gap_s=entry["utterance_gap_s"]
        )

    @property
    def duration_s(self) -> float:
        return len(self.frames) * self.frame_s

    @cached_property
    def runs(self) -> list[Span]:
        """Stretches of speech, in seconds."""
        edges = _edges(self.frames)
        return [(start * self.frame_s, end * self.frame_s) for start, end in edges]

    @cached_property
    def utterances(self) -> list[Span]:
        """Stretches of speech, word gaps bridged."""
        return merge(self.runs, self.utterance_gap_s)

    def seconds_in(self, start_s: float, end_s: float) -> float:
        """Seconds of speech inside a span; part frames count in part."""
        return sum(overlap(run, (start_s, end_s)) for run in self._runs_near(start_s, end_s))

    def onset_in(self, start_s: float, end_s: float) -> float | None:
        """First moment of speech inside a span."""
        for run_start, run_end in self._runs_near(start_s, end_s):
            if run_end > start_s + _EDGE_S and run_start <= end_s + _EDGE_S:
                return max(run_start, start_s)
        return None

    def _runs_near(self, start_s: float, end_s: float) -> list[Span]:
        """Runs that may touch a span: an hour has thousands, and is asked about as often."""
        first = bisect_left(self.runs, start_s - _EDGE_S, key=lambda run: run[1])
        last = bisect_right(self.runs, end_s + _EDGE_S, key=lambda run: run[0])
        return self.runs[first:last]


def frame_levels_dbfs(audio: NDArray[np.float32], frame: int) -> NDArray[np.float64]:
    """Power of each whole frame in dB of full scale; a part frame at the end is padded."""
    n_frames = -(-len(audio) // frame)
    padded = np.zeros(n_frames * frame, np.float64)
    padded[: len(audio)] = audio
    power = (padded.reshape(n_frames, frame) ** 2).mean(axis=1) if n_frames else np.zeros(0)
    floor = 10.0 ** (_LEVEL_FLOOR_DBFS / 10)
    levels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, floor))
    return levels


def overlap(a: Span, b: Span) -> float:
    """Seconds that two spans share."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def merge(spans: Sequence[Span], gap_s: float) -> list[Span]:
    """Spans in order, joined where less than `gap_s` lies between them."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start - merged[-1][1] < gap_s - _EDGE_S:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def subtract(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """What is left of `spans` outside `holes`; linear in both, but for their order."""
    solid = merge(holes, 0.0)
    ends = [end for _, end in solid]
    left: list[Span] = []
    for start, end in spans:
        rest = start
        for k in range(bisect_right(ends, start), len(solid)):
            hole_start, hole_end = solid[k]
            if hole_start >= end:
                break
            left.append((rest, hole_start))
            rest = max(rest, hole_end)
        left.append((rest, end))
    return sorted(piece for piece in left if piece[1] - piece[0] > _EDGE_S)


def longest_gap(runs: Sequence[Span], start_s: float, end_s: float) -> float:
    """Longest silence between `start_s` and `end_s`."""
    gaps = subtract([(start_s, end_s)], runs)
    return max((end - start for start, end in gaps), default=0.0)


def _edges(frames: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Index ranges (start, end) of runs of True."""
    padded = np.concatenate([[False], frames, [False]])
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(a), int(b)) for a, b in zip(changes[::2], changes[1::2], strict=True)]


def _bridge_gaps(
    frames: NDArray[np.bool_], shorter_than: int, *, at_edges: bool = False
) -> NDArray[np.bool_]:
    """Set runs of False shorter than `shorter_than` frames; at the ends only if asked."""
    bridged = frames.copy()
    for start, end in _edges(~frames):
        inside = start > 0 and end < len(frames)
        if end - start < shorter_than and (inside or at_edges):
            bridged[start:end] = True
    return bridged
