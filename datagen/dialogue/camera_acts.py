"""What happens in front of the camera, as times and numbers; drawing is elsewhere."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

from microturn.datagen.labels.setting import (
    BoardLabel,
    FigureLabel,
    KeyS,
    SceneLabel,
)

Keys = tuple[tuple[int, float], ...]  # (sample, value), rising in time


def value_at(keys: Keys, sample: int) -> float:
    """Value between keys along a raised cosine; the outer ones hold on for ever."""
    index = bisect_right(keys, sample, key=lambda key: key[0])
    if index == 0:
        return keys[0][1]
    if index == len(keys):
        return keys[-1][1]
    (start, before), (end, after) = keys[index - 1], keys[index]
    share = 0.5 - 0.5 * math.cos(math.pi * (sample - start) / (end - start))
    return before + (after - before) * share


@dataclass(frozen=True, kw_only=True)
class FigureAct:
    """The figure does `action`: `phase` says how far it is in it, `blend` how much of it is it."""

    action: str
    phase: Keys
    blend: Keys

    @property
    def start_sample(self) -> int:
        return self.blend[0][0]

    @property
    def end_sample(self) -> int:
        return self.blend[-1][0]


@dataclass(frozen=True, kw_only=True)
class BoardItem:
    """A sign on the board: it appears from `start_sample` on and is complete at `ready_sample`."""

    text: str
    start_sample: int
    ready_sample: int
    end_sample: int
    how: str = "fade"


@dataclass(frozen=True, kw_only=True)
class BoardAct:
    """Signs that appear on the board, one after the other."""

    items: tuple[BoardItem, ...]

    @property
    def start_sample(self) -> int:
        return self.items[0].start_sample

    @property
    def end_sample(self) -> int:
        return self.items[-1].end_sample


@dataclass(kw_only=True)
class Acts:
    """Everything that happens in front of the camera in a dialogue."""

    figure: list[FigureAct] = field(default_factory=list)
    board: list[BoardAct] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)  # about what is seen then

    def __bool__(self) -> bool:
        return bool(self.figure or self.board)

    def extend(self, other: Acts) -> None:
        self.figure += other.figure
        self.board += other.board
        self.asked += other.asked

    def label(self, sample_rate: int) -> SceneLabel:
        """Return the same in seconds."""

        def seconds(sample: int) -> float:
            return round(sample / sample_rate, 6)

        def keys(values: Keys) -> tuple[KeyS, ...]:
            return tuple((seconds(sample), round(value, 6)) for sample, value in values)

        return SceneLabel(
            figure=tuple(
                FigureLabel(action=act.action, phase=keys(act.phase), blend=keys(act.blend))
                for act in self.figure
            ),
            board=tuple(
                BoardLabel(
                    text=item.text,
                    start_s=seconds(item.start_sample),
                    ready_s=seconds(item.ready_sample),
                    end_s=seconds(item.end_sample),
                    how=item.how,
                )
                for act in self.board
                for item in act.items
            ),
        )

    def overlaps(self, start: int, end: int) -> bool:
        """Whether something happens, or is watched for, in [start, end)."""
        spans = [(act.start_sample, act.end_sample) for act in self.figure]
        spans += [(act.start_sample, act.end_sample) for act in self.board]
        return self.overlaps_asked(start, end) or any(
            first < end and start < last for first, last in spans
        )

    def overlaps_asked(self, start: int, end: int) -> bool:
        """Whether the agent has been asked to watch somewhere in [start, end)."""
        return any(first < end and start < last for first, last in self.asked)
