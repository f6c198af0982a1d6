"""The words of one side, mended: in order, inside the recording, without marks of transcribers.

Nothing is left out in silence: each fault is counted under a name. A word whose times cannot be
right keeps its sound and gets unknown times, so that text lanes have no weight there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final

from microturn.datagen.corpora.alignment.length import longest_of
from microturn.datagen.corpora.checking import Unusable
from microturn.datagen.corpora.conversations.checking.marks import SpokenText, spoken_text
from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.time_classes import INTERPOLATED, UNKNOWN

SHORTEST_S: Final = 0.02  # of a word with times
LATE_S: Final = 0.1  # by which words may exceed the recording without notice
MAX_OUTSIDE: Final = 0.1  # share of words beyond the recording; above it, the file is another

UNSORTED: Final = "words out of order"
CUT_AT_END: Final = "words beyond the end cut"
BEYOND: Final = "words beyond the end left out"
TRIMMED: Final = "overlapping words trimmed"
OVERLAPPING: Final = "overlapping words of unknown times"
NO_TIME: Final = "words without a length"
TOO_LONG: Final = "words longer than their text"
MARKED: Final = "sounds that are no words"
UNCLEAR: Final = "unclear words"
REDACTED: Final = "redacted words"


@dataclass(kw_only=True)
class MendedWords:
    """The words of a side, what was mended, and spans that the transcript calls redacted."""

    words: tuple[AlignedWord, ...] = ()
    segments: frozenset[AlignedWord] = frozenset()  # those whose words may be aligned
    redacted: list[TimeSpan] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)


def mended_words(stated: Sequence[AlignedWord], duration_s: float) -> MendedWords:
    """Mend the words of one side; raises Unusable if too many lie outside the recording."""
    found = MendedWords()
    inside = _inside(stated, duration_s, found.mended)
    words: list[AlignedWord] = []
    segments: list[AlignedWord] = []
    for word in inside:
        said = spoken_text(word.text)
        if said.is_redacted:
            found.redacted.append((word.start_s, word.end_s))
        spoken = _spoken(word, said, found.mended)
        words += spoken
        if word.times == UNKNOWN and said.is_clear:
            segments += spoken
    found.segments = frozenset(segments)
    if [w.start_s for w in words] != sorted(w.start_s for w in words):
        later = sum(b.start_s < a.start_s for a, b in zip(words, words[1:], strict=False))
        found.mended[UNSORTED] += later
        words.sort(key=lambda word: (word.start_s, word.end_s))
    found.words = tuple(_apart(words, found.mended))
    return found


def _inside(
    stated: Sequence[AlignedWord], duration_s: float, mended: Counter[str]
) -> list[AlignedWord]:
    """Return the words that have sound, none longer than it."""
    kept: list[AlignedWord] = []
    for word in stated:
        if not (isfinite(word.start_s) and isfinite(word.end_s)):
            raise Unusable("bad_times", f"the times of its word {word.text!r} are not finite")
        if word.end_s < word.start_s:
            raise Unusable(
                "bad_times",
                f"its word {word.text!r} ends at {word.end_s:g} s and begins at {word.start_s:g} s",
            )
        if word.start_s >= duration_s or word.end_s <= 0 < word.end_s - word.start_s:
            mended[BEYOND] += 1
            continue
        if word.end_s > duration_s + LATE_S or word.start_s < -LATE_S:
            mended[CUT_AT_END] += 1
        kept.append(
            replace(
                word,
                start_s=round(max(word.start_s, 0.0), 4),
                end_s=round(min(max(word.end_s, 0.0), duration_s), 4),
            )
        )
    if mended[BEYOND] > MAX_OUTSIDE * len(stated):
        raise Unusable(
            "bad_times",
            f"{mended[BEYOND]} of its {len(stated)} words lie outside its {duration_s:.2f} s",
        )
    return kept


def _spoken(word: AlignedWord, said: SpokenText, mended: Counter[str]) -> list[AlignedWord]:
    """Return what an entry says; a sound that is no word has no text."""
    if said.is_silent or (not said.words and word.end_s - word.start_s < SHORTEST_S):
        return []
    if not said.words:
        mended[REDACTED if said.is_redacted else MARKED] += 1
        return [replace(word, text="", times=UNKNOWN)]
    text = " ".join(said.words)
    if word.end_s - word.start_s > longest_of(text) and word.times != UNKNOWN:
        mended[TOO_LONG] += 1
        return [replace(word, text=text, times=UNKNOWN)]
    if not said.is_certain:
        mended[UNCLEAR] += 1
        return [replace(word, text=text, times=UNKNOWN)]
    if len(said.words) == 1 or word.times == UNKNOWN:
        return [replace(word, text=text)]
    return _split(word, said.words)


def _split(word: AlignedWord, texts: Sequence[str]) -> list[AlignedWord]:
    """Place the words of one entry, such as `twenty-one`, by their lengths."""
    lengths = [len(text) + 1 for text in texts]
    span_s = word.end_s - word.start_s
    edges = [
        round(word.start_s + span_s * sum(lengths[:i]) / sum(lengths), 4)
        for i in range(len(texts) + 1)
    ]
    return [
        AlignedWord(text=text, start_s=a, end_s=b, times=INTERPOLATED)
        for text, a, b in zip(texts, edges, edges[1:], strict=False)
    ]


def _apart(words: list[AlignedWord], mended: Counter[str]) -> list[AlignedWord]:
    """Give words a length, and known ones times that do not overlap."""
    apart: list[AlignedWord] = []
    for number, word in enumerate(words):
        following = words[number + 1].start_s if number + 1 < len(words) else None
        if word.end_s - word.start_s < SHORTEST_S:
            mended[NO_TIME] += 1
            word = replace(word, end_s=round(word.start_s + SHORTEST_S, 4), times=UNKNOWN)
        elif (
            following is not None
            and following < word.end_s
            and word.is_known
            and words[number + 1].is_known
        ):
            if following - word.start_s >= SHORTEST_S:
                mended[TRIMMED] += 1
                word = replace(word, end_s=following)
            else:  # two words at once: neither time can be right
                mended[OVERLAPPING] += 1
                word = replace(word, times=UNKNOWN)
        apart.append(word)
    return apart
