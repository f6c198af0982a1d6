"""Where sound begins and ends: the voiced span of a recording, and words that can be cut out.

A word can be cut out and used by itself when its acoustic score is good and silence, or at least a
dip of energy, stands on both sides of it; its edges are then those of the energy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microturn.datagen.corpora.manifest import AlignedWord, Cut
from microturn.model.streams.pcm import Audio

RATE = 16_000  # of all audio here
_FRAME, _HOP = RATE // 100, RATE // 200  # 10 ms windows every 5 ms
_GUARD = 6  # hops: 30 ms of low energy isolate a word
_QUIET_DB = 40.0  # a recording's voice is within this of its loudest window
_GAP_DB = 30.0  # a gap between words is this far below the word's loudest window
_OUT, _IN = 30, 16  # hops that an edge may move out of (150 ms) or into (80 ms) its aligned word
_NEAR = 8  # hops (40 ms) in which the dip between two joined words is sought
_DIP_DB = 12.0  # a dip is this far below the word's loudest window
# The more there is beside a word, the better it has to fit to be believed.
ALONE_SCORE, CLEAN_SCORE, USABLE_SCORE = -60.0, -40.0, -30.0
_MIN_LENGTH_S, _MAX_LENGTH_S = 0.08, 1.5

Levels = npt.NDArray[np.float64]


def levels_db(audio: Audio) -> Levels:
    """Level of 10 ms windows every 5 ms."""
    padded = np.concatenate([audio.astype(np.float64), np.zeros(_FRAME)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    levels: Levels = 10 * np.log10(np.square(windows).mean(axis=1) + 1e-12)
    return levels


def voiced_span(audio: Audio) -> tuple[float, float]:
    """First and last moment, in seconds, that is within 40 dB of the loudest."""
    levels = levels_db(audio)
    loud = np.flatnonzero(levels > levels.max() - _QUIET_DB)
    return _seconds(int(loud[0]), int(loud[-1]), len(audio))


def cut_word(audio: Audio, words: tuple[AlignedWord, ...], index: int, score: float) -> Cut:
    """The cut of one word, with its quality as far as sound and score tell."""
    if len(words) == 1:
        start, end = voiced_span(audio)
        quality = "clean" if score >= ALONE_SCORE else "poor"
        return Cut(word=index, start=start, end=end, score=score, quality=quality)
    levels = levels_db(audio)
    first, last, isolated = _edges(levels, words, index)
    start, end = _seconds(first, last, len(audio))
    quality = "poor"
    if _MIN_LENGTH_S <= end - start <= _MAX_LENGTH_S:
        edge = max(levels[first], levels[last])
        if isolated and score >= CLEAN_SCORE:
            quality = "clean"
        elif edge < levels[first : last + 1].max() - _DIP_DB and score >= USABLE_SCORE:
            quality = "usable"
    return Cut(word=index, start=start, end=end, score=score, quality=quality)


def _edges(levels: Levels, words: tuple[AlignedWord, ...], index: int) -> tuple[int, int, bool]:
    """First and last hop of a word, and whether silence stands on both sides of it."""
    start = min(_hop(words[index].start), len(levels) - 2)
    stop = min(max(_hop(words[index].end) - 1, start + 1), len(levels) - 1)
    quiet = levels < levels[start : stop + 1].max() - _GAP_DB
    left = _edge_after_gap(quiet, start)
    right = _edge_after_gap(quiet[::-1], len(quiet) - 1 - stop)
    first = left if left is not None else _dip(levels, start)
    last = len(quiet) - 1 - right if right is not None else _dip(levels, stop)
    if first >= last:
        return start, stop, False
    # A gap beyond the edge of a neighbour is not this word's own.
    before = index == 0 or _hop(words[index - 1].end) - first <= _IN
    after = index == len(words) - 1 or last - _hop(words[index + 1].start) <= _IN
    return first, last, left is not None and right is not None and before and after


def _dip(levels: Levels, aligned: int) -> int:
    """The quietest hop near an aligned edge."""
    near = max(0, aligned - _NEAR)
    return near + int(levels[near : aligned + _NEAR + 1].argmin())


def _edge_after_gap(quiet: npt.NDArray[np.bool_], aligned: int) -> int | None:
    """The loud hop nearest to the aligned edge that has a guard of quiet hops before it."""
    padded = np.concatenate([np.ones(_GUARD, bool), quiet])  # before the recording: silence
    after_gap = np.lib.stride_tricks.sliding_window_view(padded, _GUARD)[:-1].all(axis=1)
    starts = np.flatnonzero(after_gap & ~quiet)
    near = starts[(starts >= aligned - _OUT) & (starts <= aligned + _IN)]
    return int(near[np.abs(near - aligned).argmin()]) if len(near) else None


def _hop(seconds: float) -> int:
    return round(seconds * RATE / _HOP)


def _seconds(first: int, last: int, n_samples: int) -> tuple[float, float]:
    """Times of the outer edges of two hops."""
    end = min(n_samples, (last + 1) * _HOP + (_FRAME - _HOP))
    return round(first * _HOP / RATE, 4), round(end / RATE, 4)
