"""Meetings and calls in Kaldi's tables, as of AMI: the recordings of one meeting stay together.

The same folders hold utterances (`adapters/segments.py`), so they are conversations only where
these are asked for. Recordings are of one meeting if `reco2file_and_channel` or `wav.scp` give them
one file, or if their names are one name with a mark of a headset, channel or side after it. Each
two people of a meeting are a conversation, in which the others are third voices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from microturn.datagen.corpora.adapters.segments import KaldiTable, KaldiTables, kaldi_folders
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
    DescribedSide,
)
from microturn.datagen.corpora.conversations.layouts.pairs import pairs
from microturn.datagen.corpora.conversations.layouts.segment_words import Words, segment
from microturn.datagen.corpora.conversations.layouts.sounds import n_channels
from microturn.datagen.corpora.recordings import FileSound, read_text, split_named
from microturn.datagen.corpora.word_times import Ctm
from microturn.datagen.labels.time_classes import GIVEN

# `AMI_ES2002a_H00`, `ES2002a.Headset-0`, `S02_P05`, `sw02001-A`: the meeting, and the mark.
_MARKED = re.compile(r"(.+?)[._-](?:[A-Za-z]{0,10}[._-]?\d{1,3}|[A-D]|left|right)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _SpokenSegment:
    """An utterance of a meeting: whose, in which file and channel, and when."""

    recording: str
    speaker: str
    sound: FileSound
    text: str
    language: str


def _read(root: Path, columns: dict[str, str]) -> Iterator[DescribedConversation]:
    for folder in kaldi_folders(root):
        tables, texts = KaldiTables.read(folder), KaldiTable(folder / "text")
        if not tables.segments:
            raise ValueError(
                f"{folder / 'segments'} is missing; without it nobody knows when each one speaks"
            )
        times = _word_times(folder)
        split = split_named(folder.name) if folder != root else ""
        for name, utterances in sorted(_meetings(tables, folder).items()):
            meeting = DescribedConversation(id=name, split=split)
            try:
                said = [_spoken(utterance, tables, texts) for utterance in sorted(utterances)]
                people = _people(said, times)
            except (ValueError, OSError) as error:
                yield replace(meeting, problem=str(error))
                continue
            languages = Counter(one.language for one in said)
            meeting = replace(meeting, language=languages.most_common(1)[0][0])
            yield from pairs(meeting, people)


def _word_times(folder: Path) -> Ctm | None:
    """Read the CTM of the folder, by recordings, if there is one."""
    path = folder / "ctm"
    return Ctm(read_text(path), str(path)) if path.is_file() else None


def _meetings(tables: KaldiTables, folder: Path) -> dict[str, list[str]]:
    """Return the ids of the utterances of each meeting."""
    rows = KaldiTable(folder / "reco2file_and_channel")
    stated = {name: row.split()[0] for name, row in rows.items() if len(row.split()) > 1}
    n_of_file = Counter(stated.values())
    n_of_source = Counter(map(_source, tables.files.values()))
    meetings: dict[str, list[str]] = {}
    for utterance, row in tables.segments.items():
        recording = row.split()[0] if row else utterance
        marked = _MARKED.fullmatch(recording)
        source = _source(tables.files.get(recording, ""))
        if n_of_file[stated.get(recording, "")] > 1:
            name = stated[recording]
        elif n_of_source[source] > 1 and source:
            name = Path(source).stem
        else:
            name = marked[1] if marked else recording
        meetings.setdefault(name, []).append(utterance)
    return meetings


def _source(entry: str) -> str:
    """Return the file of an entry of `wav.scp`; of a command, the word that names a file."""
    if not entry.endswith("|"):
        return entry
    words = [word for word in entry.split() if "." in word.rpartition("/")[2]]
    return words[0] if words else ""


def _spoken(utterance: str, tables: KaldiTables, texts: KaldiTable) -> _SpokenSegment:
    """Read an utterance; ValueError names it and the table that is wrong."""
    try:
        if utterance in texts.twice:
            raise ValueError("text has it twice")
        sound, recording = tables.sound(utterance)
        if sound.end_s is None:
            raise ValueError("segments has no end for it")
        return _SpokenSegment(
            recording=recording,
            speaker=_person(tables.speaker(utterance), recording),
            sound=sound,
            text=texts.get(utterance, ""),
            language=tables.languages.get(utterance, ""),
        )
    except ValueError as error:
        raise ValueError(f"utterance {utterance}: {error}") from error


def _person(speaker: str, recording: str) -> str:
    """Return who speaks: in Kaldi's AMI the recording stands before the name of the person."""
    rest = speaker.removeprefix(recording)
    return rest.lstrip("_-") if rest != speaker and rest.strip("_-") else speaker


def _people(said: Sequence[_SpokenSegment], times: Ctm | None) -> list[DescribedSide]:
    """Return everybody with a channel of their own, in the order of their names."""
    by_track: dict[tuple[Path, int | None], list[_SpokenSegment]] = {}
    for one in said:
        by_track.setdefault((one.sound.path, one.sound.channel), []).append(one)
    people: dict[str, DescribedSide] = {}
    for (path, channel), spoken in sorted(by_track.items(), key=lambda item: str(item[0])):
        speakers = sorted({one.speaker for one in spoken})
        if len(speakers) > 1:
            raise ValueError(
                f"{path.name} has {' and '.join(speakers)} on one channel; everybody of a "
                "conversation needs a channel"
            )
        n = n_channels(path)
        if channel is None and n > 1:
            raise ValueError(
                f"{path.name} has {n} channels, and nobody says which is {speakers[0]}'s; state it "
                "in reco2file_and_channel"
            )
        if speakers[0] in people:
            other = people[speakers[0]].sound.path.name
            raise ValueError(f"{speakers[0]} speaks in {other} and in {path.name}; keep one")
        people[speakers[0]] = DescribedSide(
            speaker=speakers[0],
            sound=FileSound(path=path, channel=channel or 0),
            words=_words(spoken, channel, times),
        )
    if len(people) < 2:
        raise ValueError(f"only {', '.join(people)} speaks in it; a conversation needs two people")
    return [people[name] for name in sorted(people)]


def _words(spoken: Sequence[_SpokenSegment], channel: int | None, times: Ctm | None) -> Words:
    if times is not None:
        found = times.find(spoken[0].recording, channel, own=True)
        if found:
            return tuple(replace(word, times=GIVEN) for word in found)
    rows = sorted(spoken, key=lambda one: one.sound.start_s)
    return tuple(segment(one.text, one.sound.start_s, one.sound.end_s or 0.0) for one in rows)


MEETINGS = ConversationFormat(
    name="segments",
    sign="wav.scp, text and segments (Kaldi style) with a recording for each person",
    matches=lambda root: bool(kaldi_folders(root)),
    read=_read,
)
