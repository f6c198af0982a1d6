"""Words in sound by comparison with recordings: dynamic programming over all of them at once.

Every recording of a word is a row of states, one per frame. A path through the sound goes through
words, at half to twice their speed, and through what is none of them. A frame inside a word gains
`NULL_DISTANCE` minus its distance from the recording, any other frame gains nothing: a word is
found only where it explains the sound better than no word does.
S states, B bands, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]  # (T, B) log10 magnitudes

# Root mean square over bands, in log10 magnitude: the recorded voice stays below, noise above.
NULL_DISTANCE: Final = 0.22
_WORD_COST: Final = NULL_DISTANCE  # of beginning a word: what one perfect frame gains
_QUIET_FRAMES: Final = 8
_NEVER: Final = np.float32(-1e9)


@dataclass(frozen=True, kw_only=True)
class Spotted:
    """One recording, found in frames [first, end)."""

    number: int  # of the recording
    first: int
    end: int
    distance: float  # mean over its frames


@dataclass(frozen=True)
class Spotter:
    """Recordings of words, at least two frames each."""

    recordings: Sequence[Frames]

    @cached_property
    def _states(self) -> Frames:
        return np.concatenate(list(self.recordings))

    @cached_property
    def _last(self) -> NDArray[np.int64]:
        lengths = np.array([len(frames) for frames in self.recordings], np.int64)
        return np.cumsum(lengths) - 1

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.concatenate([[0], self._last[:-1] + 1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each recording."""
        return self._last - self._first + 1

    def spot(self, frames: Frames, favour: Frames | None = None) -> list[Spotted]:
        """Find the best series of words.

        `favour` (T, recordings): a head start of a recording that begins in a frame.
        """
        if not len(self.recordings):
            return []
        gains = NULL_DISTANCE - distances(frames, self._states)
        total = np.zeros(len(frames) + 1, np.float32)  # of the best path that ends before a frame
        ends: list[Spotted | None] = [None] * (len(frames) + 1)
        paths = _Paths.of(len(self._states))
        if favour is None:
            favour = np.zeros((len(frames), len(self.recordings)), np.float32)
        for t, gain in enumerate(gains):
            paths = paths.step(gain, self._first, total[t] + favour[t], t)
            number, start, score = paths.best_end(self._last)
            total[t + 1] = max(total[t], score - _WORD_COST)
            if total[t + 1] > total[t]:
                gained = score - float(total[start] + favour[start, number])
                gained /= t + 1 - start
                ends[t + 1] = Spotted(
                    number=number, first=start, end=t + 1, distance=NULL_DISTANCE - gained
                )
        return _trace_back(ends)


@dataclass(frozen=True)
class _Paths:
    """The best path to each state, having come there or stayed there for a second frame."""

    came: Frames  # (S,) totals
    stayed: Frames
    came_from: NDArray[np.int32]  # (S,) frame in which the word began
    stayed_from: NDArray[np.int32]

    @classmethod
    def of(cls, n_states: int) -> _Paths:
        never, none = np.full(n_states, _NEVER), np.zeros(n_states, np.int32)
        return cls(never, never, none, none)

    def step(self, gain: Frames, first: NDArray[np.int64], entry: Frames | float, t: int) -> _Paths:
        """Advance by a frame; a word may begin with its first or its second state."""
        longer = self.stayed > self.came
        best = np.where(longer, self.stayed, self.came)
        began = np.where(longer, self.stayed_from, self.came_from)
        one, one_from = _moved(best, 1, _NEVER), _moved(began, 1, np.int32(0))
        two, two_from = _moved(best, 2, _NEVER), _moved(began, 2, np.int32(0))
        one[first], one_from[first], two[first] = entry, t, _NEVER
        two[first + 1], two_from[first + 1] = entry, t
        skips = two > one
        return _Paths(
            np.where(skips, two, one) + gain,
            self.came + gain,
            np.where(skips, two_from, one_from),
            self.came_from,
        )

    def best_end(self, last: NDArray[np.int64]) -> tuple[int, int, float]:
        """Return the best word that ends here, the frame in which it began, and its total."""
        totals = np.maximum(self.came[last], self.stayed[last])
        number = int(totals.argmax())
        state = last[number]
        stayed = self.stayed[state] > self.came[state]
        start = (self.stayed_from if stayed else self.came_from)[state]
        return number, int(start), float(totals[number])


def beginning(frames: Frames, recording: Frames) -> tuple[float, float]:
    """Compare sound with the beginning of a recording: mean distance, and the share it reaches.

    Quiet frames at the onset may be missing: a word often begins below the threshold of speech.
    """
    gains = NULL_DISTANCE - distances(frames, recording)
    came = np.where(np.arange(len(recording)) < _QUIET_FRAMES, gains[0], _NEVER)
    none = np.zeros(len(recording), np.int32)
    paths = _Paths(came, np.full(len(recording), _NEVER), none, none)
    for gain in gains[1:]:
        paths = paths.step(gain, np.array([0]), float(_NEVER), 0)
    totals = np.maximum(paths.came, paths.stayed)
    state = int(totals.argmax())
    return NULL_DISTANCE - float(totals[state]) / len(frames), (state + 1) / len(recording)


def distances(frames: Frames, states: Frames) -> Frames:
    """Root mean square difference of each frame from each state, (T, S)."""
    squares = (frames**2).sum(axis=1)[:, None] + (states**2).sum(axis=1) - 2 * frames @ states.T
    root: Frames = np.sqrt(np.maximum(squares, 0.0) / frames.shape[1]).astype(np.float32)
    return root


def _moved(values: NDArray[Any], by: int, fill: Any) -> NDArray[Any]:
    moved = np.empty_like(values)
    moved[:by], moved[by:] = fill, values[:-by]
    return moved


def _trace_back(ends: Sequence[Spotted | None]) -> list[Spotted]:
    found: list[Spotted] = []
    t = len(ends) - 1
    while t > 0:
        spotted = ends[t]
        if spotted is not None:
            found.append(spotted)
        t = t - 1 if spotted is None else spotted.first
    return found[::-1]
