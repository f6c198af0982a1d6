"""Whether a transcript can have the length of its sound."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.cutting import HOP_S, Levels
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.model.streams import normalise

MAX_LETTERS_PER_S: Final = 35.0  # of all from the first sound to the last, spaces included
# The slowest lines that were found take 70 % of this: single letters, words of children.
SLACK_S, MAX_LETTER_S, MAX_WORD_S = 1.0, 0.15, 0.25
SOUNDING_DB: Final = 20.0  # speech is within this of its loudest 10 ms, most noise is not
NOISE_SHARE, NOISE_DB = 0.1, 10.0  # speech is this far above the quietest tenth
MAX_OUTSIDE_S: Final = 2.5  # of speech beside the words: more than any laugh that was found
MARGIN_S: Final = 0.1  # by which the edges of words may be off
DIGIT_LETTERS, SYLLABLE_LETTERS = 5, 3  # how many letters figures and signs of syllables stand for
_SYLLABLES: Final = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")


def fault_of_length(text: str, span_s: tuple[float, float], levels: Levels) -> str:
    """Return how a text contradicts the length of its sound; empty if it does not."""
    voiced_s = span_s[1] - span_s[0]
    if len(normalise(text)) > MAX_LETTERS_PER_S * voiced_s:
        return f"its text does not fit into {voiced_s:.1f} s of sound"
    sounding_s = HOP_S * np.count_nonzero(_sounding(levels))
    if sounding_s > (longest_s := longest_of(text)):
        return (
            f"its text takes at most {longest_s:.1f} s, and {sounding_s:.1f} s sound: words are "
            "missing"
        )
    return ""


def fault_of_words(words: Sequence[AlignedWord], levels: Levels) -> str:
    """Return how word times contradict the sound: speech that is in none; empty if they do not."""
    outside = _sounding(levels)
    for word in words:
        first, end = (round(s / HOP_S) for s in (word.start_s - MARGIN_S, word.end_s + MARGIN_S))
        outside[max(first, 0) : end] = False
    if (seconds := HOP_S * np.count_nonzero(outside)) > MAX_OUTSIDE_S:
        return f"{seconds:.1f} s sound outside its words: words are missing"
    return ""


def _sounding(levels: Levels) -> npt.NDArray[np.bool_]:
    noise = float(np.quantile(levels, NOISE_SHARE)) + NOISE_DB
    return levels > max(float(levels.max()) - SOUNDING_DB, noise)


def longest_of(text: str) -> float:
    """Return the seconds that a text can sound for, pauses not counted."""
    words = words_of(text)
    letters = sum(_letters(sign) for word in words for sign in word)
    return SLACK_S + MAX_LETTER_S * letters + MAX_WORD_S * len(words)


def _letters(sign: str) -> int:
    if sign.isdigit():
        return DIGIT_LETTERS
    name = unicodedata.name(sign, "")
    return SYLLABLE_LETTERS if name.startswith(_SYLLABLES) else 1
