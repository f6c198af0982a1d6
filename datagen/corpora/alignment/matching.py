"""Matches word times with a transcript: known times stay, others are interpolated or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microturn.datagen.corpora.cutting import Levels, sounding_span
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.time_classes import ALIGNED, GIVEN, INTERPOLATED, UNKNOWN
from microturn.model.streams import normalise

MAX_GAP_S = 1.0  # between known times further apart than this, words are unknown
MIN_WORD_S = 0.03  # words with less room than this were taken into the times of their neighbours
NAMELESS = frozenset(["<unk>", "<oov>", "[unk]", "[oov]"])  # what aligners call an unknown word


@dataclass(frozen=True)
class StatedWord:
    """An entry of an aligner: its words (none if they are unknown to it) and its time."""

    texts: tuple[str, ...]
    start_s: float
    end_s: float


def words_of(text: str) -> list[str]:
    """Return the words of a transcript as they are aligned and stored: normalised."""
    return [word for word in normalise(text).split() if word.strip("'")]


def stated_words(words: Sequence[AlignedWord]) -> list[StatedWord]:
    """Normalise entries; those without a word or a length tell nothing and are left out."""
    stated = []
    for word in words:
        if word.start_s == word.end_s:
            continue
        nameless = word.text.strip().lower() in NAMELESS
        texts = () if nameless else tuple(words_of(word.text))
        if texts or nameless:
            stated.append(StatedWord(texts, round(word.start_s, 4), round(word.end_s, 4)))
    return stated


def found_share(stated: Sequence[StatedWord], texts: Sequence[str]) -> float:
    """Return the share of the words with times that stand in the text, in its order."""
    timed = [text for entry in stated for text in entry.texts]
    return len(_matches(timed, texts)) / len(timed) if timed else 1.0


def unknown_line(texts: Sequence[str], start_s: float, end_s: float) -> tuple[AlignedWord, ...]:
    """Return the words of a line as one entry; the only word of a line fills its sound."""
    times = ALIGNED if len(texts) == 1 else UNKNOWN
    return (AlignedWord(text=" ".join(texts), start_s=start_s, end_s=end_s, times=times),)


def match_words(
    stated: Sequence[StatedWord],
    texts: Sequence[str],
    *,
    span_s: tuple[float, float],
    levels: Levels,
) -> tuple[AlignedWord, ...] | None:
    """Return the words of a text with what is known of their times; None if nothing is.

    A word keeps the time that is stated for it. Others are interpolated where the known times
    around them are at most `MAX_GAP_S` apart, silence at the edges not counted; else they are one
    entry that is unknown within its span. `span_s` is the sounding part of the recording.
    """
    places = _places(stated, texts)
    while any(place is not None for place in places):
        runs = _runs(places)
        rooms = [_room(stated, places, run, span_s=span_s, levels=levels) for run in runs]
        tight = [run for run, room in zip(runs, rooms, strict=True) if _is_tight(run, room)]
        if not tight:
            return _merged(stated, texts, places, dict(zip(runs, rooms, strict=True)))
        for first, end in tight:
            for neighbour in (first - 1, end):
                if 0 <= neighbour < len(texts):
                    places[neighbour] = None
    return None


Run = tuple[int, int]  # first word without a time, and the one after the last
Room = tuple[float, float]  # seconds


def _matches(timed: Sequence[str], texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of the longest common subsequence."""
    longest = [[0] * (len(texts) + 1) for _ in range(len(timed) + 1)]  # of what follows a pair
    for i in reversed(range(len(timed))):
        for j in reversed(range(len(texts))):
            same = 1 + longest[i + 1][j + 1] if timed[i] == texts[j] else 0
            longest[i][j] = max(same, longest[i + 1][j], longest[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(timed) and j < len(texts):
        if timed[i] == texts[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _places(stated: Sequence[StatedWord], texts: Sequence[str]) -> list[int | None]:
    """Return the entry that holds each word alone; None for words without one."""
    timed = [(text, i) for i, entry in enumerate(stated) for text in entry.texts or ("",)]
    places: list[int | None] = [None] * len(texts)
    for mine, at in _matches([text for text, _ in timed], texts):
        entry = timed[mine][1]
        if len(stated[entry].texts) == 1:
            places[at] = entry
    return places


def _runs(places: Sequence[int | None]) -> list[Run]:
    """Return the runs of words without a time."""
    runs: list[Run] = []
    for at, place in enumerate(places):
        if place is None:
            first = runs.pop()[0] if runs and runs[-1][1] == at else at
            runs.append((first, at + 1))
    return runs


def _room(
    stated: Sequence[StatedWord],
    places: Sequence[int | None],
    run: Run,
    *,
    span_s: tuple[float, float],
    levels: Levels,
) -> Room:
    """Return where the words of a run can be: their entries, or what sounds between others."""
    first, end = run
    before = places[first - 1] if first else None
    after = places[end] if end < len(places) else None
    inside = stated[0 if before is None else before + 1 : after]
    if sum(len(entry.texts) or 1 for entry in inside) >= end - first:
        return inside[0].start_s, max(entry.end_s for entry in inside)
    start_s = span_s[0] if before is None else stated[before].end_s
    end_s = span_s[1] if after is None else stated[after].start_s
    return sounding_span(levels, start_s, end_s)


def _is_tight(run: Run, room: Room) -> bool:
    return room[1] - room[0] < MIN_WORD_S * (run[1] - run[0])


def _merged(
    stated: Sequence[StatedWord],
    texts: Sequence[str],
    places: Sequence[int | None],
    rooms: dict[Run, Room],
) -> tuple[AlignedWord, ...]:
    words: list[AlignedWord] = []
    for at, place in enumerate(places):
        if place is not None:
            start_s, end_s = stated[place].start_s, stated[place].end_s
            words.append(AlignedWord(text=texts[at], start_s=start_s, end_s=end_s, times=GIVEN))
    for (first, end), room in rooms.items():
        words += _between(texts[first:end], *room)
    return tuple(sorted(words, key=lambda word: word.start_s))


def _between(texts: Sequence[str], start_s: float, end_s: float) -> list[AlignedWord]:
    """Interpolate words by their lengths, or leave them unknown in too long a gap."""
    if end_s - start_s > MAX_GAP_S:
        text = " ".join(texts)
        return [AlignedWord(text=text, start_s=start_s, end_s=end_s, times=UNKNOWN)]
    lengths = [len(text) + 1 for text in texts]
    edges = [
        round(start_s + (end_s - start_s) * sum(lengths[:i]) / sum(lengths), 4)
        for i in range(len(texts) + 1)
    ]
    return [
        AlignedWord(text=text, start_s=a, end_s=b, times=INTERPOLATED)
        for text, a, b in zip(texts, edges, edges[1:], strict=False)
    ]
