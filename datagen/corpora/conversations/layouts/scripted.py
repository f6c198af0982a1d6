"""Scripted dialogues: JSONL with one dialogue a line, each turn a recording of its own.

`{"id", "turns": [{"speaker", "role"?, "audio", "text", "words"?}], "instructions"?}`; a dialogue
may also have `language`, `licence` and `split`. Paths are relative to the file. `role` is `user` or
`agent`; `words` have any shape that `word_times.py` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microturn.configs.reading import decoded_text
from microturn.datagen.corpora.adapters.fields import as_text, find_audio
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
)
from microturn.datagen.corpora.conversations.layouts.json_lines import first_row, lists_in
from microturn.datagen.corpora.conversations.record import ROLES
from microturn.datagen.corpora.recordings import FileSound, Recording, split_named
from microturn.datagen.corpora.word_times import words_from_json


def _matches(root: Path) -> bool:
    return any(_is_list(path) for path in lists_in(root))


def _is_list(path: Path) -> bool:
    turns = first_row(path).get("turns")
    return isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns)


def _read(root: Path, options: dict[str, str]) -> Iterator[DescribedConversation]:
    for path in lists_in(root):
        if not _is_list(path):
            continue
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _dialogue(path, number, decoded_text(line, path))


def _dialogue(path: Path, number: int, line: str) -> DescribedConversation:
    name = f"{path.stem}-{number:07d}"
    try:
        row = json.loads(line)
        name = as_text(row.get("id")) or name
        turns = tuple(_turn(path, row, name, i, turn) for i, turn in enumerate(row["turns"]))
        roles = tuple(_role(turn) for turn in row["turns"])
        if len(turns) < 2:
            raise ValueError(
                f"it has {len(turns)} turn{'s' * (not turns)}, and a dialogue needs two"
            )
        people = {turn.speaker for turn in turns}
        if "" in people:
            unnamed = next(i for i, turn in enumerate(turns, start=1) if not turn.speaker)
            raise ValueError(f"its turn {unnamed} names no speaker")
        if len(people) < 2:
            raise ValueError(
                f"all its turns are by {people.pop()!r}, and a dialogue needs two people"
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        return DescribedConversation(id=name, problem=f"{path.name}, line {number}: {reason}")
    return DescribedConversation(
        id=name,
        turns=turns,
        roles=roles,
        split=split_named(as_text(row.get("split"))) or split_named(path.stem),
        language=as_text(row.get("language")),
        licence=as_text(row.get("licence")),
        instructions=as_text(row.get("instructions")),
    )


def _turn(
    path: Path, row: Mapping[str, Any], name: str, number: int, turn: Mapping[str, Any]
) -> Recording:
    audio = turn.get("audio")
    if not isinstance(audio, str):
        raise ValueError(f"its turn {number + 1} names no audio file")
    file = find_audio(path.parent, audio)
    own = Path(audio).with_suffix("")
    return Recording(
        id=as_text(turn.get("id"))
        or (f"{name}/{own.name}" if own.is_absolute() else own.as_posix()),
        sound=FileSound(path=file),
        text=as_text(turn.get("text")),
        speaker=as_text(turn.get("speaker")),
        language=as_text(turn.get("language") or row.get("language")),
        licence=as_text(turn.get("licence") or row.get("licence")),
        words=words_from_json(turn.get("words")),
    )


def _role(turn: Mapping[str, Any]) -> str:
    role = as_text(turn.get("role")).lower()
    role = {"assistant": "agent", "system": "agent"}.get(role, role)
    if role not in ROLES:
        raise ValueError(f"the role {role!r} is neither user nor agent")
    return role


SCRIPTED_DIALOGUES = ConversationFormat(
    name="scripted",
    sign="*.jsonl with a list of turns, each with its audio, in every line",
    matches=_matches,
    read=_read,
)
