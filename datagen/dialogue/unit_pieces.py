"""Divides a recorded line where there is a gap between two of its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from microturn.datagen.dialogue.takes import USER_FADE_S
from microturn.datagen.dialogue.unit_words import UnitWord
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.time_classes import KNOWN
from microturn.model.streams.levels import energy_edges, fade

MIN_GAP_S: Final = 0.03  # between two words, for a line to be divided there
MIN_PIECE_S: Final = 0.25
STEP_S: Final = 0.005


def gaps_of(unit: Unit, rate: int) -> list[int]:
    """Return the words before which a line may be divided."""
    shortest, least = round(MIN_GAP_S * rate), round(MIN_PIECE_S * rate)
    return [
        number
        for number, (before, after) in enumerate(
            zip(unit.words, unit.words[1:], strict=False), start=1
        )
        if before.times in KNOWN
        and after.times in KNOWN
        and after.start_sample - before.end_sample >= shortest
        and before.end_sample >= least
        and unit.n_samples - after.start_sample >= least
    ]


def divided(unit: Unit, before: Sequence[int], *, rate: int, trim_db: float) -> list[Unit]:
    """Divide a line before these words, in rising order; every piece is trimmed and faded."""
    edges = [0, *(_quietest(unit, word, rate) for word in before), unit.n_samples]
    first = [0, *before, len(unit.words)]
    return [
        _piece(unit, edges[i], edges[i + 1], unit.words[first[i] : first[i + 1]], rate, trim_db)
        for i in range(len(edges) - 1)
    ]


def _quietest(unit: Unit, word: int, rate: int) -> int:
    """The quietest place in the gap before a word."""
    start, end = unit.words[word - 1].end_sample, unit.words[word].start_sample
    step = round(STEP_S * rate)

    def energy(place: int) -> float:
        near = unit.audio[max(place - step, 0) : place + step]
        return float(np.square(near, dtype=np.float64).sum())

    return min(range(start, end + 1, step), key=energy)


def _piece(
    unit: Unit, start: int, end: int, words: Sequence[UnitWord], rate: int, trim_db: float
) -> Unit:
    audio = unit.audio[start:end]
    first, last = energy_edges(audio, rate, threshold_db=trim_db)
    piece = audio[first:last].copy()
    fade(piece, round(USER_FADE_S * rate))
    piece.setflags(write=False)
    moved, n = start + first, len(piece)
    placed = [
        replace(
            word,
            start_sample=min(max(word.start_sample - moved, 0), n - 1),
            end_sample=min(max(word.end_sample - moved, 1), n),
        )
        for word in words
    ]
    return replace(
        unit, audio=piece, words=tuple(placed), text=" ".join(word.text for word in words)
    )
