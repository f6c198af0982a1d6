"""The two sides of a session: whose channel or file each label of a transcript means.

A label is matched by `sides.a=` and `sides.b=`, by the names of the files, by names of channels (A
and B, left and right), by the map of CANDOR, and last by being the only one left. What that leaves
open is a sentence with the keys to give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from microturn.datagen.corpora.conversations.described import DescribedSide
from microturn.datagen.corpora.conversations.layouts.segment_words import interval
from microturn.datagen.corpora.conversations.layouts.session_folders import SessionFiles
from microturn.datagen.corpora.conversations.layouts.session_texts import (
    KINDS,
    NoTranscriptError,
    SaidRow,
    rows_of_transcript,
)
from microturn.datagen.corpora.conversations.layouts.sounds import n_channels, sound_of_one
from microturn.datagen.corpora.recordings import FileSound, read_text
from microturn.datagen.corpora.word_times import channel_numbers, words_of_textgrid

LETTERS: Final = ("a", "b")
# Of the transcripts of CANDOR the one whose turns are not merged.
_FIRST = ("transcript_audiophile", "transcript_cliffhanger", "transcript_backbiter")
_CHANNEL = re.compile(r"(?:ch|chan|channel|track)[\s_-]*(\w+)", re.IGNORECASE)
_LETTERS_OF_CHANNELS = ("A", "B", "L", "R", "LEFT", "RIGHT")
# Labels that say which side, and not who: other people have them in other sessions.
_NOBODY = re.compile(
    r"(?:(?:speaker|spk|channel|chan|ch|track|side)[\s_-]*(?:[a-d]|\d{1,2})?"
    r"|(?:s|p|person|participant)?[\s_-]*[a-d0-4]"
    r"|(?:user|agent|assistant|caller|callee|customer|client|host|guest|interviewer|interviewee|"
    r"operator|left|right|l|r)[\s_-]*\d?|)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Track:
    """The sound of one side, and the names by which a label may mean it."""

    sound: FileSound
    stem: str = ""  # of a file of its own
    words_of_path: str = ""  # of a file of its own, as `_audio_ann_wav_`
    patterns: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()  # that a file of the session says
    number: int = 0  # of the channel or file

    def is_meant(self, label: str, kind: str, number: int | None) -> bool:
        """Tell whether a label of a kind says this side; `number` is the channel that it names."""
        if any(fnmatchcase(label.lower(), pattern.lower()) for pattern in self.patterns):
            return True
        if kind == "recording":
            return label.lower() == self.stem.lower()
        if self.stem:
            return _in_words(label) in self.words_of_path
        return label in self.labels or number == self.number


def _in_words(text: str) -> str:
    return "_" + re.sub(r"[\W_]+", "_", text.lower()).strip("_") + "_"


def _numbers(labels: Sequence[str], kind: str) -> dict[str, int | None]:
    """Return the channel that each label names: A, left or the lower of 0, 1 and 2 is the first.

    A speaker's number is none of a channel, unless it says so (`ch_0`).
    """
    named = {label: match[1] for label in labels if (match := _CHANNEL.fullmatch(label))}
    if kind == "channel":
        named = {label: label for label in labels} | named
    else:
        named |= {label: label for label in labels if label.upper() in _LETTERS_OF_CHANNELS}
    try:
        numbers = channel_numbers(set(named.values()))
    except ValueError:
        return {}
    return {label: numbers[name] for label, name in named.items()}


def sides_of(
    files: SessionFiles, *, patterns: Sequence[Sequence[str]], columns: Mapping[str, str]
) -> tuple[DescribedSide, ...]:
    """Return the two sides of a session; ValueError says in a sentence what is missing."""
    if not files.sounds:
        raise ValueError(f"{files.texts[0].name} has no sound beside it")
    tracks = _tracks(files, patterns)
    own = _own_rows(files, tracks, columns)
    if own is None:
        text, rows = _transcript(files, columns)
        own = _assigned(text, rows, tracks) if text else ([], [])
    return tuple(
        DescribedSide(
            speaker=_speaker(some, track),
            sound=track.sound,
            words=tuple(word for row in some for word in row.words),
            activity=tuple(row.activity for row in some if row.activity),
        )
        for track, some in zip(tracks, own, strict=True)
    )


def _speaker(rows: Sequence[SaidRow], track: Track) -> str:
    """Return who a side is; "" where the labels say only which side it is."""
    people = {row.speaker for row in rows if row.speaker} or set(track.labels)
    person = next(iter(people)) if len(people) == 1 else ""
    return "" if _NOBODY.fullmatch(person) else person


def _tracks(files: SessionFiles, patterns: Sequence[Sequence[str]]) -> tuple[Track, ...]:
    sounds = _chosen(files, patterns)
    if len(sounds) == 1:
        (path,) = sounds
        n = n_channels(path)
        if n != len(LETTERS):
            raise ValueError(
                f"{path.name} has {n} channel{'s' * (n > 1)} and is the only sound; a session has "
                "one file of two channels, or two files"
            )
        people = _people(files)
        return tuple(
            Track(
                sound=FileSound(path=path, channel=number),
                patterns=tuple(patterns[number]),
                labels=people.get(number, frozenset()),
                number=number,
            )
            for number in range(len(LETTERS))
        )
    return tuple(
        Track(
            sound=sound_of_one(path),
            stem=path.stem,
            words_of_path=_in_words(path.relative_to(files.folder).as_posix()),
            patterns=tuple(patterns[number]),
            number=number,
        )
        for number, path in enumerate(sounds)
    )


def _chosen(files: SessionFiles, patterns: Sequence[Sequence[str]]) -> list[Path]:
    """Return the one or two sounds that are meant."""
    if len(files.sounds) == 1:
        return files.sounds
    chosen = [[path for path in files.sounds if _fits(path, some)] for some in patterns]
    if [len(paths) for paths in chosen] == [1, 1] and chosen[0] != chosen[1]:
        return [paths[0] for paths in chosen]
    if len(files.sounds) == 2 and not any(chosen):
        return files.sounds
    lone = [len(paths) == 1 for paths in chosen]
    if len(files.sounds) == 2 and sum(lone) == 1 and not chosen[lone.index(False)]:
        found = chosen[lone.index(True)][0]
        other = next(path for path in files.sounds if path != found)
        return [found, other] if lone[0] else [other, found]
    names = ", ".join(path.name for path in files.sounds)
    raise ValueError(
        f"{files.folder.name} has the sounds {names}; say by sides.a=PATTERN and sides.b=PATTERN "
        "which one is whose, each pattern fitting one of them"
    )


def _fits(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path.name.lower(), pattern.lower()) for pattern in patterns)


def _people(files: SessionFiles) -> dict[int, frozenset[str]]:
    """Read `{"L": person, "R": person}`."""
    people: dict[int, frozenset[str]] = {}
    for path in files.settings:
        try:
            named = json.loads(read_text(path))
            numbers = channel_numbers(set(named))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path.name} cannot be read ({error})") from error
        people |= {numbers[label]: frozenset([str(who)]) for label, who in named.items()}
    return people


def _own_rows(
    files: SessionFiles, tracks: Sequence[Track], columns: Mapping[str, str]
) -> tuple[list[SaidRow], ...] | None:
    """Read the transcript that each of two files has under its own name; None if there are none."""
    by_stem = {(path.stem.lower(), path.suffix.lower()): path for path in files.texts}
    stems = [track.stem.lower() for track in tracks if track.stem]
    if len(set(stems)) < len(LETTERS):
        return None
    for kind in KINDS:
        paths = [by_stem.get((stem, kind)) for stem in stems]
        found = [path for path in paths if path is not None]
        try:
            rows = [_rows_of_one(path, columns) for path in found]
        except NoTranscriptError:
            continue
        if len(found) == len(LETTERS):
            return tuple(rows)
        if found:
            lone = stems[paths.index(None)]
            raise ValueError(f"{lone}{kind} is missing, and {found[0].name} is there")
    return None


def _rows_of_one(path: Path, columns: Mapping[str, str]) -> list[SaidRow]:
    """Read the transcript of one person; of a TextGrid, its tier of words."""
    if path.suffix.lower() != ".textgrid":
        return rows_of_transcript(path, columns)
    try:
        found = words_of_textgrid(read_text(path))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return [SaidRow(words=(interval(word),)) for word in found]


def _transcript(
    files: SessionFiles, columns: Mapping[str, str]
) -> tuple[Path | None, list[SaidRow]]:
    """Read the best transcript of a session: the first kind that is one."""
    for kind in KINDS:
        paths = [path for path in files.texts if path.suffix.lower() == kind]
        read: list[tuple[Path, list[SaidRow]]] = []
        for path in _candor_first(paths):
            try:
                read.append((path, rows_of_transcript(path, columns)))
            except NoTranscriptError:
                continue
        if len(read) > 1:
            names = " and ".join(path.name for path, _ in read)
            raise ValueError(f"{files.folder.name} has the transcripts {names}; keep one")
        if read:
            return read[0]
    if files.texts:
        raise ValueError(f"{files.texts[0].name} holds no segments with `start`, `end` and a text")
    return None, []


def _candor_first(paths: Sequence[Path]) -> Sequence[Path]:
    known = {path.stem: path for path in paths}
    return next(([known[stem]] for stem in _FIRST if stem in known), paths)


def _assigned(
    text: Path, rows: Sequence[SaidRow], tracks: Sequence[Track]
) -> tuple[list[SaidRow], ...]:
    """Give every row to a track by the first kind of label that says it for all rows."""
    for kind in ("recording", "channel", "speaker"):
        labels = list(dict.fromkeys(getattr(row, kind) for row in rows))
        whose = _whose(labels, kind, tracks) if all(labels) else None
        if whose is not None and not (len(labels) == 1 and len({r.speaker for r in rows}) > 1):
            return tuple(
                [row for row in rows if whose[getattr(row, kind)] == track.number]
                for track in tracks
            )
    raise ValueError(_open_question(text, rows, tracks))


def _whose(labels: Sequence[str], kind: str, tracks: Sequence[Track]) -> dict[str, int] | None:
    """Return the number of the track of each label; None if one stays open."""
    numbers = _numbers(labels, kind)
    meant = {
        label: [t.number for t in tracks if t.is_meant(label, kind, numbers.get(label))]
        for label in labels
    }
    taken = [numbers[0] for numbers in meant.values() if len(numbers) == 1]
    if len(labels) == len(tracks) and len(taken) == 1:  # one is known, the other is the other
        meant = {label: one if len(one) == 1 else [1 - taken[0]] for label, one in meant.items()}
        taken = [numbers[0] for numbers in meant.values()]
    if len(taken) < len(labels) or len(set(taken)) < len(taken):
        return None
    return {label: numbers[0] for label, numbers in meant.items()}


def _open_question(text: Path, rows: Sequence[SaidRow], tracks: Sequence[Track]) -> str:
    said = [row.speaker or row.channel or row.recording for row in rows]
    labels = sorted({*said} - {""})
    if "" in said:
        n = said.count("")
        return (
            f"{text.name} does not say who speaks in {n} of {len(said)} entries; it needs a column "
            "or key `speaker`"
        )
    if len(labels) > len(tracks):
        return f"{text.name} has {len(labels)} speakers ({', '.join(labels)}), and two can be sides"
    first, last = labels[0], labels[-1]
    if not tracks[0].stem:
        place = f"{tracks[0].sound.path.name}"
        keys = f"sides.a={first} sides.b={last}"
        return (
            f"{text.name} does not say who is on which channel of {place}; give {keys}, or swapped"
        )
    files = [track.sound.path.name for track in tracks]
    keys = f"sides.a='{files[0]}|{first}' sides.b='{files[1]}|{last}'"
    return (
        f"{text.name} does not say whose sound {files[0]} and {files[1]} are; give {keys}, or with "
        "the speakers swapped"
    )
