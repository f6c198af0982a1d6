"""One recording for each person, `<conversation>_P<person>.wav`, as of Seamless Interaction.

Words and activity stand in a JSON of the same name beside it, or, in the tree by kinds of files, in
`transcript/` and `vad/` beside the folder of the sound, as JSON lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
    DescribedSide,
)
from microturn.datagen.corpora.conversations.layouts.pairs import pairs
from microturn.datagen.corpora.conversations.layouts.segment_words import span, words_of_segments
from microturn.datagen.corpora.conversations.layouts.sounds import sound_of_one
from microturn.datagen.corpora.recordings import (
    AUDIO_SUFFIXES,
    read_text,
    split_folder,
)
from microturn.datagen.corpora.utterance import LAYOUT, STATED

_NAME = re.compile(r"(.+)_(P[^_]+)")
_SEAMLESS = re.compile(r"V\d+_S\d+_I\d+")
_LICENCE = "CC-BY-NC-4.0"  # of Seamless Interaction
_LISTS = ("transcript", "vad")


def _matches(root: Path) -> bool:
    if not root.is_dir():
        return False
    seen: set[str] = set()
    for path in files_below(root):
        match = _NAME.fullmatch(path.stem)
        if match is None or path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        if match[1] in seen and (_SEAMLESS.fullmatch(match[1]) or _texts_of(path)):
            return True
        seen.add(match[1])
    return False


def _texts_of(sound: Path) -> list[Path]:
    """Return the files with words and activity of a recording that are there."""
    beside = sound.with_suffix(".json")
    if beside.is_file():
        return [beside]
    folders = (sound.parent.parent / name for name in _LISTS)
    return [path for folder in folders if (path := folder / f"{sound.stem}.jsonl").is_file()]


def _read(root: Path, columns: dict[str, str]) -> Iterator[DescribedConversation]:
    names: dict[str, list[str]] = {}  # of files, by conversation; text is smaller than paths
    for path in files_below(root):
        match = _NAME.fullmatch(path.stem)
        if match is not None and path.suffix.lower() in AUDIO_SUFFIXES:
            names.setdefault(match[1], []).append(str(path))
    for name in sorted(names):
        people: dict[str, list[Path]] = {}
        for path in map(Path, names[name]):
            people.setdefault(path.stem.removeprefix(f"{name}_"), []).append(path)
        try:
            sides = _sides(name, people)
        except (ValueError, TypeError, OSError) as error:
            yield DescribedConversation(id=name, problem=str(error))
            continue
        folders = sides[0].sound.path.relative_to(root).parts[:-1]
        yield from pairs(
            DescribedConversation(
                id=name,
                split=next(filter(None, map(split_folder, folders)), ""),
                licence=_LICENCE if _SEAMLESS.fullmatch(name) else "",
                licence_from=LAYOUT if _SEAMLESS.fullmatch(name) else STATED,
            ),
            sides,
        )


def _sides(name: str, people: Mapping[str, list[Path]]) -> list[DescribedSide]:
    twice = next((paths for paths in people.values() if len(paths) > 1), None)
    if twice:
        raise ValueError(f"{twice[0]} and {twice[1]} are the same person by their names; keep one")
    paths = {person: some[0] for person, some in sorted(people.items())}
    if len(paths) == 1:
        (path,) = paths.values()
        raise ValueError(f"{path.name} has no partner: no other recording is named {name}_P...")
    texts = {person: _texts_of(path) for person, path in paths.items()}
    without = [paths[person] for person, found in texts.items() if not found]
    if without and len(without) < len(paths):
        raise ValueError(
            f"{without[0].with_suffix('.json').name} is missing, and the other side has one"
        )
    return [_side(person, path, texts[person]) for person, path in paths.items()]


def _side(person: str, path: Path, texts: list[Path]) -> DescribedSide:
    lists: dict[str, Any] = {}
    for text in texts:
        try:
            if text.suffix == ".json":
                lists |= _lists(json.loads(read_text(text)))
            else:
                rows = [json.loads(line) for line in lines_of(read_text(text)) if line.strip()]
                lists[text.parent.name] = rows
        except ValueError as error:
            raise ValueError(f"{text.name} cannot be read ({error})") from error
    try:
        words = words_of_segments(lists.get("transcript", ()))
        activity = tuple(span(row) for row in lists.get("vad", ())) if not words else ()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{texts[0].name}: {error}") from error
    return DescribedSide(speaker=person, sound=sound_of_one(path), words=words, activity=activity)


def _lists(content: Any) -> dict[str, Any]:
    """Return the lists of a JSON; in the corpus itself their keys begin with `metadata:`."""
    if not isinstance(content, Mapping):
        raise ValueError("it is no object")
    lists = {key.removeprefix("metadata:"): value for key, value in content.items()}
    if not any(name in lists for name in _LISTS):
        raise ValueError("it has neither a `transcript` nor a `vad`")
    return {name: lists.get(name) or [] for name in _LISTS}


PER_PARTICIPANT = ConversationFormat(
    name="per_participant",
    sign="`<conversation>_P<person>.wav` with a .json of `transcript` and `vad` beside each",
    matches=_matches,
    read=_read,
)
