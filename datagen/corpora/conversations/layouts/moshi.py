"""moshi-finetune: `*.jsonl` with `path` and `duration`, stereo files with the agent left.

Word times stand in `x.json` beside `x.wav`: `{"alignments": [[word, [start, end], speaker]]}`,
where SPEAKER_MAIN is the left channel. Our own export adds the places of `interpolated` words,
and segments of `unknown` times.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from microturn.configs.reading import decoded_text
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
    DescribedSide,
)
from microturn.datagen.corpora.conversations.layouts.json_lines import first_row, lists_in
from microturn.datagen.corpora.recordings import FileSound, read_text, split_named
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.time_classes import GIVEN, INTERPOLATED, UNKNOWN

MAIN: Final = "SPEAKER_MAIN"  # the agent, on the left channel
_TEXTS: Final = ("text", "transcript", "sentence")  # of recordings, which are no conversations


def _matches(root: Path) -> bool:
    return any(_is_list(path) for path in lists_in(root))


def _is_list(path: Path) -> bool:
    """Tell whether the first line names a file that has its words beside it, and no text."""
    row = first_row(path)
    if not {"path", "duration"} <= set(row) or set(_TEXTS) & set(row):
        return False
    return isinstance(row["path"], str) and _beside(path.parent / row["path"]).is_file()


def _beside(audio: Path) -> Path:
    return audio.with_suffix(".json")


def _read(root: Path, options: dict[str, str]) -> Iterator[DescribedConversation]:
    for path in lists_in(root):
        if not _is_list(path):
            continue
        split = split_named(path.stem)
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _conversation(path, number, decoded_text(line, path), split)


def _conversation(path: Path, number: int, line: str, split: str) -> DescribedConversation:
    try:
        name = json.loads(line)["path"]
        audio = path.parent / name
        words = _words(_beside(audio))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        return DescribedConversation(
            id=f"{path.stem}-{number:07d}", problem=f"{path.name}, line {number}: {reason}"
        )
    sides = (
        DescribedSide(
            speaker="",
            sound=FileSound(path=audio, channel=channel),
            words=tuple(words.get(role, ())),
            role=role,
        )
        for channel, role in enumerate(("agent", "user"))
    )
    own = Path(name).with_suffix("")
    return DescribedConversation(
        id=own.name if own.is_absolute() else own.as_posix(), sides=tuple(sides), split=split
    )


def _words(path: Path) -> dict[str, list[AlignedWord]]:
    """Return the words of agent and user; a side that was never transcribed has none."""
    if not path.is_file():
        return {}
    try:
        value: Mapping[str, Any] = json.loads(read_text(path))
        interpolated = set(value.get("interpolated", ()))
        words: dict[str, list[AlignedWord]] = {}
        for number, (text, (start, end), speaker) in enumerate(value["alignments"]):
            times = INTERPOLATED if number in interpolated else GIVEN
            _add(words, text, start, end, speaker, times)
        for text, (start, end), speaker in value.get("unknown", ()):
            _add(words, text, start, end, speaker, UNKNOWN)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path.name} holds no alignments ({error})") from error
    return words


def _add(
    words: dict[str, list[AlignedWord]],
    text: str,
    start: float,
    end: float,
    speaker: str,
    times: str,
) -> None:
    word = AlignedWord(text=str(text), start_s=float(start), end_s=float(end), times=times)
    words.setdefault("agent" if speaker == MAIN else "user", []).append(word)


MOSHI = ConversationFormat(
    name="moshi",
    sign="*.jsonl with path and duration, stereo files with the agent left, x.json beside each",
    matches=_matches,
    read=_read,
)
