"""Lhotse cuts of conversations: a `MultiCut` with a channel for each person, or two recordings.

A cut of NeMo's duplex data has the user as its recording and the agent as `custom.target_audio`.
Our own export puts other voices on the user's channel into the lane `background`; their words are
nobody's here. Lhotse Shar is read alike. The manifests are JSON and read without lhotse.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from microturn.configs.reading import decoded_text
from microturn.datagen.corpora.adapters.fields import as_text
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
    DescribedSide,
)
from microturn.datagen.corpora.recordings import FileSound, split_named
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.time_classes import GIVEN, INTERPOLATED, UNKNOWN
from microturn.datagen.sets.tar_members import tar_members

Row = dict[str, Any]
_TOLERANCE_S: Final = 0.1  # of words after their supervision
_ROLES: Final = {"user": "user", "agent": "agent", "assistant": "agent", "system": "agent"}
_BACKGROUND: Final = "background"


def _matches(root: Path) -> bool:
    return any(_is_dialogue(row) for path in _files(root) for row in _first(path))


def _files(root: Path) -> list[Path]:
    found = [root] if root.is_file() else sorted(root.glob("*cuts*")) if root.is_dir() else []
    return [path for path in found if path.name.endswith((".jsonl", ".jsonl.gz"))]


def _first(path: Path) -> list[Row]:
    try:
        return [next(_rows(path))]
    except (StopIteration, ValueError, EOFError, OSError):
        return []


def _rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file:
            if line.strip():
                yield json.loads(decoded_text(line, path))


def _is_dialogue(cut: Row) -> bool:
    custom = cut.get("custom") or {}
    return _is_multi(cut) or isinstance(custom.get("target_audio"), dict)


def _is_multi(cut: Row) -> bool:
    """Tell whether supervisions say who is on which of several channels."""
    channels = {_channels(row) for row in cut.get("supervisions") or ()}
    several = len({channel for some in channels for channel in some}) > 1
    return cut.get("type") == "MultiCut" and several and all(len(some) == 1 for some in channels)


def _channels(row: Row) -> tuple[int, ...]:
    channel = row.get("channel", 0)
    return tuple(channel) if isinstance(channel, list) else (channel,)


def _read(root: Path, options: dict[str, str]) -> Iterator[DescribedConversation]:
    for path in _files(root):
        split = next((s for part in path.name.split("_") if (s := split_named(part))), "")
        for cut in _rows(path):
            yield _conversation(cut, path, split)


def _conversation(cut: Row, path: Path, split: str) -> DescribedConversation:
    name, custom = as_text(cut["id"]), cut.get("custom") or {}
    supervisions = cut.get("supervisions") or ()
    try:
        if _is_multi(cut):
            sides = _channel_sides(cut, supervisions, path)
        elif isinstance(custom.get("target_audio"), dict):
            sides = _duplex_sides(cut, supervisions, path)
        else:
            raise ValueError("it has no channel for each person, and no custom.target_audio")
    except (KeyError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        return DescribedConversation(id=name, problem=f"{path.name}, cut {name}: {reason}")
    languages = Counter(as_text(row.get("language")) for row in supervisions)
    stated = custom.get("split")
    return DescribedConversation(
        id=name,
        sides=tuple(sides[:2]),
        others=tuple(sides[2:]),
        split=stated if stated in ("train", "test") else split,
        language=languages.most_common(1)[0][0] if languages else "",
    )


def _channel_sides(cut: Row, supervisions: Sequence[Row], path: Path) -> list[DescribedSide]:
    """Return a side for each channel that anybody speaks on."""
    sides = []
    for channel in sorted({c for row in supervisions for c in _channels(row)}):
        rows = [row for row in supervisions if _channels(row) == (channel,)]
        own = [row for row in rows if _lane(row) != _BACKGROUND]
        sides.append(_side(cut, own, _sound(cut["recording"], channel, cut, path)))
    return sides


def _duplex_sides(cut: Row, supervisions: Sequence[Row], path: Path) -> list[DescribedSide]:
    """Return the user, who is the recording of the cut, and the agent, its target."""
    channel = _channels(cut)[0]
    user = [row for row in supervisions if _role(row) != "agent"]
    agent = [row for row in supervisions if _role(row) == "agent"]
    target = cut["custom"]["target_audio"]
    own = target["sources"][0]["channels"][0]
    return [
        _side(cut, user, _sound(cut["recording"], channel, cut, path), role="user"),
        _side(cut, agent, _sound(target, own, cut, path, "target_audio"), role="agent"),
    ]


def _side(cut: Row, rows: Sequence[Row], sound: FileSound, role: str = "") -> DescribedSide:
    """Return a person; of several voices on a channel, the one that says most gives the name."""
    words = [word for row in rows for word in _words(row, cut["start"])]
    names = Counter(as_text(row.get("speaker")) for row in rows for _ in _texts(row))
    speaker = names.most_common(1)[0][0] if names else ""
    if not role:
        role = _ROLES.get(_lane(rows[0]), "") if rows else ""
    return DescribedSide(
        speaker="" if speaker.lower() in _ROLES else speaker,
        sound=sound,
        words=tuple(words),
        role=role,
    )


def _texts(row: Row) -> list[str]:
    return as_text(row.get("text")).split() or [""]


def _lane(row: Row) -> str:
    return as_text((row.get("custom") or {}).get("lane"))


def _role(row: Row) -> str:
    return _ROLES.get(as_text(row.get("speaker")).lower(), "")


def _words(row: Row, cut_start: float) -> Iterator[AlignedWord]:
    """Yield words with times from the start of the cut; a text without times is one entry.

    In cuts trimmed by lhotse the times of words still count from the start of the recording.
    """
    custom = row.get("custom") or {}
    items = [item for item in (row.get("alignment") or {}).get("word", ()) if item[0]]
    start, end = float(row["start"]), float(row["start"]) + float(row["duration"])
    unknown = custom.get("unknown", ())
    if not items and not unknown:
        if text := as_text(row.get("text")).strip():
            yield AlignedWord(text=text, start_s=start, end_s=end, times=UNKNOWN)
        return
    late = items and items[-1][1] + items[-1][2] > end + _TOLERANCE_S
    offset = cut_start if late else 0.0
    interpolated = set(custom.get("interpolated", ()))
    for number, item in enumerate(items):
        yield AlignedWord(
            text=item[0],
            start_s=round(item[1] - offset, 6),
            end_s=round(item[1] + item[2] - offset, 6),
            times=INTERPOLATED if number in interpolated else GIVEN,
        )
    for text, word_start, word_end in unknown:
        yield AlignedWord(text=text, start_s=word_start, end_s=word_end, times=UNKNOWN)


def _sound(
    recording: Mapping[str, Any], channel: int, cut: Row, path: Path, field: str = "recording"
) -> FileSound:
    """Return a channel of a recording, or of the piece of it that the cut is.

    In Lhotse Shar it is a member of the tar of this field, beside the cuts.
    """
    sources = [source for source in recording["sources"] if channel in source["channels"]]
    if sources and sources[0]["type"] == "shar":
        tar = path.with_name(path.name.replace("cuts", field, 1).split(".jsonl")[0] + ".tar")
        name, offset, size = _member(tar, as_text(cut["id"]))
        index = sources[0]["channels"].index(channel)
        return FileSound(path=tar, member=name, offset=offset, size=size, channel=index)
    if not sources or sources[0]["type"] != "file":
        kind = sources[0]["type"] if sources else "nothing"
        raise ValueError(f"its sound is of the type {kind}, and only files are read")
    if recording.get("transforms"):
        raise ValueError("its recording has transforms, which are not applied")
    start, end = float(cut["start"]), float(cut["start"]) + float(cut["duration"])
    whole = start <= 0 and end >= float(recording["duration"]) - 0.01
    return FileSound(
        path=_file(Path(sources[0]["source"]), path.parent),
        start_s=0.0 if whole else start,
        end_s=None if whole else min(end, float(recording["duration"])),
        channel=sources[0]["channels"].index(channel),
    )


def _member(tar: Path, cut_id: str) -> tuple[str, int, int]:
    """Return name, first byte and length of the sound of a cut in a tar of Shar."""
    if not tar.is_file():
        raise ValueError(f"{tar.name} is missing beside its cuts")
    members = _members(tar, tar.stat().st_mtime_ns)
    if cut_id not in members:
        raise ValueError(f"{tar.name} holds no sound of it")
    return members[cut_id]


@lru_cache(maxsize=2)  # the cuts of a tar follow each other; targets have tars of their own
def _members(tar: Path, changed: int) -> dict[str, tuple[str, int, int]]:
    """Return the members of a tar by cut; when it was changed tells it from an earlier one."""
    try:
        with tar.open("rb") as file:
            found = list(tar_members(file))
    except tarfile.TarError as error:
        raise ValueError(f"{tar.name} is damaged ({error})") from error
    return {
        name.rpartition(".")[0]: (name, offset, size)
        for name, offset, size in found
        if not name.endswith(".json")
    }


def _file(file: Path, folder: Path) -> Path:
    """Resolve a path from its manifest; a folder that was moved has its sound below it still."""
    if file.is_file() and file.is_absolute():
        return file
    near = (folder / Path(*file.parts[-n:]) for n in range(min(len(file.parts), 3), 0, -1))
    relative = [folder / file] if not file.is_absolute() else []
    return next((one for one in (*relative, *near) if one.is_file()), file)


LHOTSE_DIALOGUES = ConversationFormat(
    name="lhotse_dialogues",
    sign="*cuts*.jsonl[.gz] with a channel for each speaker, or custom.target_audio",
    matches=_matches,
    read=_read,
)
