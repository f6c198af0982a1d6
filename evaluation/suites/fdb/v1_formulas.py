"""Formulas of Full-Duplex-Bench v1 (arXiv 2503.04721), from words and spans to metrics.

Restated from the benchmark's published scripts, quirks included (`Quirks`). Times are seconds from
the beginning of `output.wav`, which is as long as `input.wav`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.suites.fdb.quirks import ORIGINAL, Quirks

TURN_S: Final = 1.0  # shorter speech of few words takes no turn
TURN_WORDS: Final = 3
FORMAL_S: Final = 3.0  # a longer stretch of speech is a turn whatever it says
BACKCHANNEL_WORDS: Final = 2
BIN_S: Final = 0.2
EPSILON: Final = 1e-10
MAX_JSD: Final = math.sqrt(math.log(2.0))

Histogram = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A word of `output.json`; `end_s` is None where the recogniser gave none."""

    text: str
    start_s: float
    end_s: float | None


@dataclass(frozen=True, kw_only=True)
class Backchannels:
    """Backchannels of one output during the user's turn."""

    takes_turn: bool
    spans: tuple[Span, ...]  # that count as backchannels


def takes_turn(chunks: Sequence[Chunk]) -> bool:
    """TOR of one output: 1 second from the first word to the end of the last, or four words."""
    if not chunks:
        return False
    return spoken_s(chunks) >= TURN_S or len(chunks) > TURN_WORDS


def spoken_s(chunks: Sequence[Chunk]) -> float:
    """From the beginning of the first word to the end of the last; its beginning if it has none."""
    last = chunks[-1]
    end_s = last.start_s if last.end_s is None else last.end_s
    return end_s - chunks[0].start_s


def latency(chunks: Sequence[Chunk], end_s: float, quirks: Quirks = ORIGINAL) -> float | None:
    """From the end of the user's turn to the first word; None without a turn of the agent."""
    if not takes_turn(chunks):
        return None
    seconds = chunks[0].start_s - end_s
    if seconds < 0:
        return 0.0 if quirks.early_is_zero else None
    return seconds


def after(chunks: Sequence[Chunk], moment_s: float) -> list[Chunk]:
    """Words of the output cropped at a moment; one that is sounding then begins there."""
    return [
        Chunk(text=chunk.text, start_s=max(chunk.start_s, moment_s), end_s=chunk.end_s)
        for chunk in chunks
        if (chunk.start_s if chunk.end_s is None else chunk.end_s) > moment_s
    ]


def backchannels(
    spans: Sequence[Span], chunks: Sequence[Chunk], quirks: Quirks = ORIGINAL
) -> Backchannels:
    """Split speech into backchannels, which leave the floor to the user, and turns."""
    taken, found = False, list[Span]()
    for start_s, end_s in spans:
        if end_s - start_s > FORMAL_S:
            taken = True
            break
        takes = _takes_floor(end_s - start_s, len(_words_in(chunks, start_s, end_s)))
        taken = takes if quirks.last_segment_decides else taken or takes
        if takes and quirks.taken_turn_forgets:
            found = []
        else:
            found.append((start_s, end_s))
    return Backchannels(takes_turn=taken, spans=tuple(found))


def _takes_floor(seconds: float, n_words: int) -> bool:
    return n_words > BACKCHANNEL_WORDS or seconds >= TURN_S


def _words_in(chunks: Sequence[Chunk], start_s: float, end_s: float) -> list[str]:
    """Return the words of a span as the scripts do: inside it, over its end or over its start."""
    found = []
    for chunk in chunks:
        if chunk.end_s is None and chunk.start_s < end_s:
            continue
        until_s = chunk.start_s if chunk.end_s is None else chunk.end_s
        inside = chunk.start_s >= start_s and until_s <= end_s
        over_end = chunk.start_s <= end_s < until_s
        over_start = chunk.start_s <= start_s < until_s
        if inside or over_end or over_start:
            found.append(chunk.text)
    return found


def histogram(spans: Sequence[Span], duration_s: float) -> Histogram:
    """Histogram of backchannels: shares of bins of 0.2 s; a span counts in each bin it touches."""
    counts = np.zeros(int(duration_s / BIN_S) + 1, np.float64)
    for start_s, end_s in spans:
        counts[int(start_s / BIN_S) : int(end_s / BIN_S) + 1] += 1.0
    counts += EPSILON
    shares: Histogram = counts / counts.sum()
    return shares


def divergence(
    spans: Sequence[Span],
    reference: Sequence[float],
    duration_s: float,
    quirks: Quirks = ORIGINAL,
) -> float:
    """JSD between the times of an agent's backchannels and those of people.

    `reference` is a histogram over the same stretch of time, of any number of bins.
    """
    if not spans:
        return 1.0 if quirks.none_is_one else MAX_JSD
    own = histogram(spans, duration_s)
    places = np.linspace(0.0, 1.0, len(reference))
    resized = np.interp(np.linspace(0.0, 1.0, len(own)), places, np.asarray(reference, np.float64))
    return jensen_shannon(own, resized)


def jensen_shannon(p: Histogram, q: Histogram) -> float:
    """Jensen-Shannon distance of two histograms: the root of the divergence, in nats."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return math.sqrt(max((_kl(p, middle) + _kl(q, middle)) / 2, 0.0))


def _kl(p: Histogram, q: Histogram) -> float:
    held = p > 0
    return float((p[held] * np.log(p[held] / q[held])).sum())
