"""Words of transcripts that come as segments, as most tools write them in JSON.

A segment has `start` and `end` and a text, and often its words with their times. Of a segment with
a word that nobody could place the times are unknown, and the whole is one entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.word_times import words_from_json
from microturn.datagen.labels.time_classes import GIVEN, UNKNOWN

Words = tuple[AlignedWord, ...]

UNCLEAR = "(( ))"  # the mark of telephone corpora for speech that nobody understood
_TEXTS = ("transcript", "text", "utterance", "sentence", "human_transcript")
_STARTS = ("start", "start_time", "start_s", "begin")
_ENDS = ("end", "end_time", "stop", "end_s")


def segment(text: str, start_s: float, end_s: float) -> AlignedWord:
    """Return a segment of which no more than its span is known."""
    return AlignedWord(text=text.strip() or UNCLEAR, start_s=start_s, end_s=end_s, times=UNKNOWN)


def interval(found: AlignedWord) -> AlignedWord:
    """Return an interval of a tier: a word with its times, or a segment if it has several."""
    several = " " in found.text.strip()
    return replace(found, text=found.text.strip(), times=UNKNOWN if several else GIVEN)


def words_of_segments(rows: Iterable[Any]) -> Words:
    """Return the words of segments in their order; ValueError for a segment without times."""
    return tuple(word for row in rows for word in _words(row))


def _words(row: Any) -> Words:
    if not isinstance(row, Mapping):
        raise ValueError(f"its segment {str(row)[:40]!r} is no object with `start` and `end`")
    listed = row.get("words")
    if isinstance(listed, Sequence) and not isinstance(listed, str) and listed:
        timed = words_from_json([word for word in listed if _is_timed(word)])
        if all(map(_is_timed, listed)):
            return tuple(replace(word, times=GIVEN) for word in timed)
    return (segment(_text(row), *span(row)),)


def _is_timed(word: Any) -> bool:
    return not isinstance(word, Mapping) or None not in (word.get("start"), word.get("end"))


def _text(row: Mapping[str, Any]) -> str:
    text = next((row[name] for name in _TEXTS if row.get(name) is not None), None)
    if text is None and row.get("words"):
        text = " ".join(str(word.get("word", word.get("text", ""))) for word in row["words"])
    return str(text or "")


def span(row: Any) -> TimeSpan:
    """Return the times of a segment, in seconds; keys may end in `_ms`. Raises ValueError."""
    if not isinstance(row, Mapping):
        raise ValueError(f"{str(row)[:40]!r} is no object with `start` and `end`")
    start, end = _time(row, _STARTS), _time(row, _ENDS)
    duration = _time(row, ("duration",))
    end = start + duration if end is None and None not in (start, duration) else end  # type: ignore[operator]
    if start is None or end is None:
        raise ValueError(f"{str(dict(row))[:60]!r} has no `start` and `end`")
    return start, end


def _time(row: Mapping[str, Any], names: Iterable[str]) -> float | None:
    for name in names:
        if row.get(name) is not None:
            return float(row[name])
        if row.get(f"{name}_ms") is not None:
            return float(row[f"{name}_ms"]) / 1000
    return None
