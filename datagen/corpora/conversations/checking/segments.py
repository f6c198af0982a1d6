"""Word times of segments that have none: found by forced alignment, where the language allows.

A segment whose text does not fit its sound keeps unknown times, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from microturn.datagen.corpora.alignment.aligner import UNSCORED
from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.checking import (
    SHORT_LINE_MARGIN,
    SHORT_LINE_WORDS,
    is_in_latin_letters,
)
from microturn.datagen.corpora.conversations.checking.measured import MeasuredSound, sound_of
from microturn.datagen.corpora.conversations.checking.words import MendedWords
from microturn.datagen.corpora.cutting import RATE
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.corpora.utterance import AlignedWord

LONGEST_S: Final = 30.0  # of a segment that is aligned
MARGIN_S: Final = 0.1  # of sound around a segment, where nothing else is said
MISFIT: Final = "segments whose text does not fit their sound"


def aligned_segments(
    said: MendedWords, sound: MeasuredSound, aligner: CachedAligner, *, fit: float
) -> MendedWords:
    """Return the words of a side with those of its segments one by one, as far as they fit."""
    words: list[AlignedWord] = []
    misfits = 0
    for number, entry in enumerate(said.words):
        alignable = all(map(is_in_latin_letters, entry.text.split()))
        short = entry.end_s - entry.start_s <= LONGEST_S
        if entry not in said.segments or not alignable or not short:
            words.append(entry)
            continue
        found = _aligned(entry, _room(said.words, number), sound, aligner, fit)
        misfits += found is None
        words += found or [entry]
    mended = said.mended + Counter({MISFIT: misfits})
    return replace(said, words=tuple(words), mended=mended)


def _room(words: Sequence[AlignedWord], number: int) -> tuple[float, float]:
    """Return where the words of a segment may lie: a little around it, not into others."""
    entry = words[number]
    before = words[number - 1].end_s if number else 0.0
    after = words[number + 1].start_s if number + 1 < len(words) else entry.end_s + MARGIN_S
    start_s = min(max(entry.start_s - MARGIN_S, before), entry.start_s)
    return start_s, max(min(entry.end_s + MARGIN_S, after), entry.end_s)


def _aligned(
    entry: AlignedWord,
    room: tuple[float, float],
    sound: MeasuredSound,
    aligner: CachedAligner,
    fit: float,
) -> list[AlignedWord] | None:
    texts = entry.text.split()
    audio = resample(sound_of(sound, *room), sound.rate, new_rate=RATE)
    if len(audio) < RATE // 10:
        return None
    found = aligner.align(audio, RATE, text=entry.text)
    fit -= SHORT_LINE_MARGIN if len(texts) <= SHORT_LINE_WORDS else 0.0
    if found is None or (found.mean != UNSCORED and found.mean < fit):
        return None
    return [
        replace(
            word, start_s=round(word.start_s + room[0], 4), end_s=round(word.end_s + room[0], 4)
        )
        for word in found.words
    ]
