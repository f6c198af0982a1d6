"""Edges by energy: the voiced span of a recording, and the edges of words to cut out.

A word can be cut out and used by itself if its acoustic score is good and silence, or at least a
dip of energy, lies on both sides of it; its edges are then found by energy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microturn.datagen.corpora.utterance import AlignedWord, Cut
from microturn.model.streams.pcm import Audio

RATE = 16_000  # of all audio here
_FRAME, _HOP = RATE // 100, RATE // 200  # 10 ms windows every 5 ms
HOP_S = _HOP / RATE
_GUARD = 6  # hops: 30 ms of low energy isolate a word
_QUIET_DB = 40.0  # a recording's voice is within this of its loudest window
_GAP_DB = 30.0  # a gap between words is this far below the word's loudest window
_OUT, _IN = 30, 16  # hops that an edge may move out of (150 ms) or into (80 ms) its aligned word
_NEAR = 8  # hops (40 ms) around an edge in which the dip between two joined words is searched
_DIP_DB = 12.0  # a dip is this far below the word's loudest window
# The more sound there is beside a word, the better its score has to be.
ALONE_SCORE, CLEAN_SCORE, USABLE_SCORE = -60.0, -40.0, -30.0
_MIN_LENGTH_S, _MAX_LENGTH_S = 0.08, 1.5

Levels = npt.NDArray[np.float64]


def levels_db(audio: Audio) -> Levels:
    """Return the level of 10 ms windows every 5 ms."""
    padded = np.concatenate([audio.astype(np.float64), np.zeros(_FRAME)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    levels: Levels = 10 * np.log10(np.square(windows).mean(axis=1) + 1e-12)
    return levels


def voiced_span(audio: Audio) -> tuple[float, float]:
    """Return the first and last moment, in seconds, within 40 dB of the loudest."""
    levels = levels_db(audio)
    loud = np.flatnonzero(levels > levels.max() - _QUIET_DB)
    return _seconds(int(loud[0]), int(loud[-1]), len(audio))


def sounding_span(levels: Levels, start_s: float, end_s: float) -> tuple[float, float]:
    """Return the part of a span between its first and last sound; all of it if it is silent."""
    first, end = _hop(start_s), _hop(end_s)
    loud = np.flatnonzero(levels[first:end] > levels.max() - _GAP_DB)
    if not len(loud):
        return start_s, end_s
    sounding = start_s + float(loud[0]) * HOP_S, start_s + float(loud[-1] + 1) * HOP_S
    return round(sounding[0], 4), round(min(sounding[1], end_s), 4)


def cut_word(audio: Audio, words: tuple[AlignedWord, ...], *, index: int, score: float) -> Cut:
    """Return the cut of one word, with its quality by energy and score."""
    if len(words) == 1:
        start_s, end_s = voiced_span(audio)
        quality = "clean" if score >= ALONE_SCORE else "poor"
        return Cut(word=index, start_s=start_s, end_s=end_s, score=score, quality=quality)
    levels = levels_db(audio)
    first, last, isolated = _edges(levels, words, index)
    start_s, end_s = _seconds(first, last, len(audio))
    quality = "poor"
    if _MIN_LENGTH_S <= end_s - start_s <= _MAX_LENGTH_S:
        edge = max(levels[first], levels[last])
        if isolated and score >= CLEAN_SCORE:
            quality = "clean"
        elif edge < levels[first : last + 1].max() - _DIP_DB and score >= USABLE_SCORE:
            quality = "usable"
    return Cut(word=index, start_s=start_s, end_s=end_s, score=score, quality=quality)


def _edges(levels: Levels, words: tuple[AlignedWord, ...], index: int) -> tuple[int, int, bool]:
    """Return the first and last hop of a word, and whether silence is on both sides of it."""
    start = min(_hop(words[index].start_s), len(levels) - 2)
    stop = min(max(_hop(words[index].end_s) - 1, start + 1), len(levels) - 1)
    quiet = levels < levels[start : stop + 1].max() - _GAP_DB
    left = _edge_after_gap(quiet, start)
    right = _edge_after_gap(quiet[::-1], len(quiet) - 1 - stop)
    first = left if left is not None else _dip(levels, start)
    last = len(quiet) - 1 - right if right is not None else _dip(levels, stop)
    if first >= last:
        return start, stop, False
    # A gap beyond the edge of a neighbour does not isolate this word.
    before = index == 0 or _hop(words[index - 1].end_s) - first <= _IN
    after = index == len(words) - 1 or last - _hop(words[index + 1].start_s) <= _IN
    return first, last, left is not None and right is not None and before and after


def _dip(levels: Levels, aligned: int) -> int:
    """Return the quietest hop near an aligned edge."""
    near = max(0, aligned - _NEAR)
    return near + int(levels[near : aligned + _NEAR + 1].argmin())


def _edge_after_gap(quiet: npt.NDArray[np.bool_], aligned: int) -> int | None:
    """Return the loud hop after a guard of quiet hops that is nearest to the aligned edge."""
    padded = np.concatenate([np.ones(_GUARD, bool), quiet])  # before the recording: silence
    after_gap = np.lib.stride_tricks.sliding_window_view(padded, _GUARD)[:-1].all(axis=1)
    starts = np.flatnonzero(after_gap & ~quiet)
    near = starts[(starts >= aligned - _OUT) & (starts <= aligned + _IN)]
    return int(near[np.abs(near - aligned).argmin()]) if len(near) else None


def _hop(seconds: float) -> int:
    return round(seconds * RATE / _HOP)


def _seconds(first: int, last: int, n_samples: int) -> tuple[float, float]:
    """Return the times of the outer edges of two hops."""
    end = min(n_samples, (last + 1) * _HOP + (_FRAME - _HOP))
    return round(first * _HOP / RATE, 4), round(end / RATE, 4)
