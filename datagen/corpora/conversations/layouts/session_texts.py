"""Transcripts of sessions: CSV, JSON, TextGrid, STM, CTM, and RTTM, which has no words.

Each is read into rows that say who speaks by the labels that the file has: of a speaker, of a
channel, of a recording. Whose side that is, `session_sides.py` decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.adapters.fields import NAMES, as_text
from microturn.datagen.corpora.adapters.table_rows import delimiter_of, rows_of
from microturn.datagen.corpora.conversations.layouts.segment_words import (
    Words,
    interval,
    segment,
    words_of_segments,
)
from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.recordings import read_text
from microturn.datagen.corpora.word_times import Ctm, tiers_by_speaker
from microturn.datagen.labels.time_classes import GIVEN

# The first kind that a session has is read: times of words, of segments, of activity.
KINDS: Final = (".ctm", ".textgrid", ".json", ".csv", ".tsv", ".stm", ".rttm")
_TABLES = (".csv", ".tsv")
_LISTS = ("segments", "transcript", "transcripts", "utterances", "turns", "entries")
_NAMES: dict[str, tuple[str, ...]] = {
    "speaker": (*NAMES["speaker"], "speaker_role", "role", "user_id", "participant"),
    "channel": (*NAMES["channel"], "channel_index", "channel_label"),
    "start": ("start", "start_time", "begin_time", "begin", "start_s", "onset"),
    "end": ("stop", "end", "end_time", "stop_time", "end_s"),
    "text": (*NAMES["text"], "utterance"),
}
_SETTINGS = ("metadata", "meta", "info", "session", "config", "settings", "survey")
_UNSCORED = "ignore_time_segment_in_scoring"


class NoTranscriptError(ValueError):
    """A file that is no transcript, such as the settings of a session."""


@dataclass(frozen=True, kw_only=True)
class SaidRow:
    """What one line of a transcript says: who, when, and the words if it has any."""

    words: Words = ()
    activity: TimeSpan | None = None  # where there are no words
    speaker: str = ""
    channel: str = ""
    recording: str = ""


def is_transcript(path: Path, columns: Mapping[str, str]) -> bool:
    """Tell by suffix, and by the header of a table, whether a file may be a transcript."""
    suffix = path.suffix.lower()
    if suffix not in _TABLES:
        return suffix in KINDS and path.stem.lower() not in _SETTINGS
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")
    names = {name.strip().strip('"') for name in header.split(delimiter_of(header))}
    return all(names.intersection(_names(key, columns)) for key in ("start", "end", "text"))


def rows_of_transcript(path: Path, columns: Mapping[str, str]) -> list[SaidRow]:
    """Read a transcript; ValueError names the file and its fault."""
    try:
        text, suffix = read_text(path), path.suffix.lower()
        if suffix in _TABLES:
            return list(_of_table(text, columns))
        return list(_READERS[suffix](text))
    except NoTranscriptError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        reason = str(error).removeprefix(f"{path}, ").removeprefix(f"{path.name}, ")
        raise ValueError(f"{path.name}: {reason}") from error


def _names(key: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    return (columns[key],) if key in columns else _NAMES[key]


def _value(row: Mapping[str, Any], key: str, columns: Mapping[str, str]) -> str:
    values = (as_text(row.get(name)) for name in _names(key, columns))
    return next(filter(None, values), "")


def _of_table(text: str, columns: Mapping[str, str]) -> Iterator[SaidRow]:
    for number, row, fault in rows_of(text, delimiter_of(text.partition("\n")[0])):
        try:
            if fault:
                raise ValueError(fault)
            start_s, end_s = (_seconds(_value(row, key, columns)) for key in ("start", "end"))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        yield SaidRow(
            words=(segment(_value(row, "text", columns), start_s, end_s),),
            speaker=_value(row, "speaker", columns),
            channel=_value(row, "channel", columns),
        )


def _seconds(text: str) -> float:
    """Return seconds, which may be written as hours:minutes:seconds."""
    seconds = 0.0
    for part in text.replace(",", ".").split(":"):
        try:
            seconds = 60 * seconds + float(part)
        except ValueError as error:
            raise ValueError(f"the time {text!r} is no number") from error
    return seconds


def _of_json(text: str) -> Iterator[SaidRow]:
    content = json.loads(text)
    if isinstance(content, Mapping) and "channel_labels" in (content.get("results") or ()):
        yield from _of_transcribe(content["results"]["channel_labels"]["channels"])
        return
    found = False
    for speaker, rows in _lists(content):
        for row in rows:
            found = True
            yield from _of_segment(row, speaker)
    if not found:
        raise NoTranscriptError("it has no list of segments")


def _lists(content: Any) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the lists of segments of a JSON, each with its speaker if the list is one's own."""
    if isinstance(content, list):
        if content and isinstance(content[0], Mapping):
            yield "", content
        return
    if not isinstance(content, Mapping):
        return
    named = next((content[name] for name in _LISTS if isinstance(content.get(name), list)), None)
    if named is not None:
        yield "", named
        return
    for speaker, rows in content.items():
        if isinstance(rows, list) and rows and _is_segment(rows[0]):
            yield str(speaker), rows


def _is_segment(row: Any) -> bool:
    return isinstance(row, Mapping) and not {"start", "start_ms", "start_time", "words"}.isdisjoint(
        row
    )


def _of_segment(row: Any, speaker: str) -> Iterator[SaidRow]:
    """Yield a segment, or each of its words where these have speakers of their own."""
    if not isinstance(row, Mapping):
        raise ValueError(f"its segment {str(row)[:40]!r} is no object with `start` and `end`")
    own, channel, listed = _value(row, "speaker", {}), _value(row, "channel", {}), row.get("words")
    if not (own or channel or speaker) and isinstance(listed, list) and listed:
        for word in listed:
            who, where = (_label(word, key) for key in ("speaker", "channel"))
            yield SaidRow(words=words_of_segments([{"words": [word]}]), speaker=who, channel=where)
        return
    segments = [{"words": [row]} if "word" in row and not listed else row]
    yield SaidRow(words=words_of_segments(segments), speaker=own or speaker, channel=channel)


def _label(word: Any, key: str) -> str:
    return _value(word, key, {}) if isinstance(word, Mapping) else ""


def _of_transcribe(channels: Sequence[Any]) -> Iterator[SaidRow]:
    """Read the output of Amazon Transcribe for separate channels, as CANDOR has it."""
    for channel in channels:
        for item in channel["items"]:
            if item.get("type") == "punctuation":
                continue
            start_s, end_s = float(item["start_time"]), float(item["end_time"])
            word = segment(str(item["alternatives"][0]["content"]), start_s, end_s)
            yield SaidRow(
                words=(replace(word, times=GIVEN),),
                channel=str(channel["channel_label"]),
            )


def _of_textgrid(text: str) -> Iterator[SaidRow]:
    """Yield the intervals of each speaker's tier; of one with several words, no more is known."""
    for speaker, intervals in tiers_by_speaker(text).items():
        for one in intervals:
            yield SaidRow(words=(interval(one),), speaker=speaker)


def _of_ctm(text: str) -> Iterator[SaidRow]:
    ctm = Ctm(text, "")
    for name in ctm.names():
        for channel, words in ctm.channels(name).items():
            for word in words:
                yield SaidRow(
                    words=(replace(word, times=GIVEN),),
                    channel=chr(ord("A") + channel),
                    recording=name,
                )


def _of_stm(text: str) -> Iterator[SaidRow]:
    """Read `recording channel speaker start end [<labels>] text`."""
    for number, line in enumerate(lines_of(text), start=1):
        cells = line.split(maxsplit=5)
        if not cells or line.startswith(";;"):
            continue
        if len(cells) < 5:
            raise ValueError(f"line {number}: it has {len(cells)} cells, and STM at least 5")
        recording, channel, speaker, *times = cells[:5]
        said = cells[5] if len(cells) > 5 else ""
        said = said.partition(">")[2].strip() if said.startswith("<") else said
        if said.lower() == _UNSCORED:
            continue
        try:
            start_s, end_s = map(float, times)
        except ValueError as error:
            raise ValueError(f"line {number}: its times are no numbers") from error
        yield SaidRow(
            words=(segment(said, start_s, end_s),),
            speaker=speaker,
            channel=channel,
            recording=recording,
        )


def _of_rttm(text: str) -> Iterator[SaidRow]:
    """Read `SPEAKER recording channel start duration <NA> <NA> speaker`."""
    for number, line in enumerate(lines_of(text), start=1):
        cells = line.split()
        if not cells or cells[0] != "SPEAKER":
            continue
        try:
            start_s, speaker = float(cells[3]), cells[7]
            end_s = round(start_s + float(cells[4]), 6)
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number}: {line[:40]!r} is no line of RTTM") from error
        yield SaidRow(activity=(start_s, end_s), speaker=speaker, recording=cells[1])


_READERS = {
    ".json": _of_json,
    ".textgrid": _of_textgrid,
    ".ctm": _of_ctm,
    ".stm": _of_stm,
    ".rttm": _of_rttm,
}
