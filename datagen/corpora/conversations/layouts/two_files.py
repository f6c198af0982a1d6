"""Sessions with two files of one person each, or one of two channels, and a transcript.

A folder is a session (CANDOR, and most sets that are recorded in one's own studio). With a path in
`sides.a=audio/agent/*.wav` and `sides.b=audio/caller/*.wav` the star is the session: files of the
two people stand in trees of their own, and the transcript is the one of the session's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from microturn.configs.reading import files_below
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
)
from microturn.datagen.corpora.conversations.layouts.session_folders import (
    SessionFiles,
    sessions,
)
from microturn.datagen.corpora.conversations.layouts.session_sides import LETTERS, sides_of
from microturn.datagen.corpora.conversations.layouts.session_texts import (
    is_transcript,
    rows_of_transcript,
)
from microturn.datagen.corpora.conversations.layouts.sounds import n_channels
from microturn.datagen.corpora.recordings import AUDIO_SUFFIXES, split_folder

_KEYS = tuple(f"sides.{letter}" for letter in LETTERS)
_FIELDS = ("speaker", "channel", "start", "end", "text")
_N_PROBED = 3  # sessions by which the layout is found by itself


def _matches(root: Path) -> bool:
    """Tell whether the first sessions have one transcript of two speakers for all of their sound.

    Folders of utterances have a text for each file, or one speaker.
    """
    if not root.is_dir() or (root / "wav.scp").is_file() or _has_manifest(root):
        return False
    first = islice(sessions(root, lambda path: is_transcript(path, {})), _N_PROBED)
    return any(_has_two_sides(files) for files in first)


def why_no_session(root: Path) -> str:
    """Say why the first sessions of a folder that fits no layout are no conversations; else ""."""
    if not root.is_dir():
        return ""
    for files in islice(sessions(root, lambda path: is_transcript(path, {})), _N_PROBED):
        for path in files.texts[:_N_PROBED] if files.sounds else ():
            try:
                rows = rows_of_transcript(path, {})
            except ValueError as error:
                return f"its session {files.name(root)}: {error}"
            if len({row.speaker for row in rows}) < len(LETTERS):
                return (
                    f"its session {files.name(root)}: {path.name} names one speaker, and a "
                    "conversation has two; format=two_files leaves the other without words"
                )
    return ""


def _has_manifest(root: Path) -> bool:
    return any(path.name.endswith((".jsonl", ".jsonl.gz")) for path in root.iterdir())


def _has_two_sides(files: SessionFiles) -> bool:
    stems = {path.stem for path in files.sounds}
    if not stems or not files.texts or (len(stems) > 1 and stems & {p.stem for p in files.texts}):
        return False
    try:
        if len(files.sounds) == 1 and n_channels(files.sounds[0]) != len(LETTERS):
            return False
        rows = [rows_of_transcript(path, {}) for path in files.texts[:_N_PROBED]]
    except ValueError:
        return False
    return any(
        len({getattr(row, kind) for row in some} - {""}) >= len(LETTERS)
        for some in rows
        for kind in ("speaker", "channel", "recording")
    )


def _read(root: Path, columns: dict[str, str]) -> Iterator[DescribedConversation]:
    fields = {key: name for key, name in columns.items() if key not in _KEYS}
    if unknown := set(fields).difference(_FIELDS):
        raise ValueError(
            f"columns.{min(unknown)} is not a field of transcripts; known are {', '.join(_FIELDS)}"
        )
    patterns = [tuple(filter(None, columns.get(key, "").split("|"))) for key in _KEYS]
    paths = ["".join(one for one in some if "/" in one) for some in patterns]
    found = (
        _by_paths(root, paths, fields)
        if any(paths)
        else sessions(root, lambda path: is_transcript(path, fields))
    )
    for files in found:
        name = files.name(root)
        try:
            sides = sides_of(files, patterns=patterns, columns=fields)
        except (ValueError, OSError) as error:
            yield DescribedConversation(id=name, problem=str(error))
            continue
        folders = files.folder.relative_to(root).parts
        yield DescribedConversation(
            id=name,
            sides=sides,
            split=next(filter(None, map(split_folder, folders)), ""),
        )


def _by_paths(
    root: Path, paths: Sequence[str], fields: Mapping[str, str]
) -> Iterator[SessionFiles]:
    """Yield sessions whose name is what the stars of both paths stand for."""
    for key, pattern in zip(_KEYS, paths, strict=True):
        if "*" not in pattern:
            raise ValueError(
                f"{key}={pattern!r} has no star; where one side is a path, both are, and what the "
                "star stands for is the session"
            )
    signs = [re.compile(_expression(pattern)) for pattern in paths]
    sounds: dict[str, dict[int, Path]] = {}
    texts: dict[str, list[Path]] = {}
    for path in files_below(root):
        place = path.relative_to(root).as_posix()
        if path.suffix.lower() in AUDIO_SUFFIXES:
            for number, sign in enumerate(signs):
                if match := sign.fullmatch(place):
                    sounds.setdefault("-".join(match.groups()), {})[number] = path
        elif is_transcript(path, fields):
            texts.setdefault(path.stem, []).append(path)
    for name in sorted(sounds):
        yield SessionFiles(
            root,
            sounds=[path for _, path in sorted(sounds[name].items())],
            texts=texts.get(name, []),
            session=name,
        )


def _expression(pattern: str) -> str:
    """Return a regular expression for a path; a star is any part of a name."""
    return "([^/]*)".join(map(re.escape, pattern.split("*")))


TWO_FILES = ConversationFormat(
    name="two_files",
    sign="folders with two sound files, or one of two channels, and a transcript of two speakers",
    matches=_matches,
    read=_read,
    named_fields=True,
)
