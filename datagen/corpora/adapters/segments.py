"""Kaldi-style folders, as of AMI meetings: `wav.scp`, `text`, `utt2spk`, `segments`.

The channel of a recording is that of its command in `wav.scp`, of its segment, or of
`reco2file_and_channel`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import soundfile

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.adapters.kaldi_commands import file_of_command
from microturn.datagen.corpora.recordings import (
    FileSound,
    Format,
    Recording,
    read_text,
    split_named,
)
from microturn.datagen.corpora.word_times import channel_numbers

_TO_THE_END = -1.0  # as the end of a segment
_ARCHIVE = re.compile(r"\.ark:\d+$")


def _matches(root: Path) -> bool:
    return bool(kaldi_folders(root))


def kaldi_folders(root: Path) -> list[Path]:
    """Return the folder itself, or its subfolders, one per split."""
    if not root.is_dir():
        return []
    folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    return [path for path in folders if (path / "wav.scp").is_file() and (path / "text").is_file()]


class KaldiTable(dict[str, str]):
    """The lines of a table by their first word; spaces or tabs follow it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.twice: set[str] = set()
        for line in lines_of(read_text(path)) if path.is_file() else ():
            name, *rest = re.split(r"[ \t]+", line.strip(" \t"), maxsplit=1)
            if name in self:
                self.twice.add(name)
            if name:
                self[name] = rest[0] if rest else ""


@dataclass(frozen=True, kw_only=True)
class KaldiTables:
    """The tables of one folder."""

    folder: Path
    files: KaldiTable
    segments: KaldiTable
    speakers: KaldiTable
    languages: KaldiTable
    channels: dict[str, int]  # of recordings, from 0

    @staticmethod
    def read(folder: Path) -> KaldiTables:
        speakers = KaldiTable(folder / "utt2spk")
        for name, utterances in KaldiTable(folder / "spk2utt").items():
            for utterance in utterances.split() if not (folder / "utt2spk").is_file() else ():
                speakers[utterance] = name
        sides = KaldiTable(folder / "reco2file_and_channel")
        labels = {name: row.split()[-1] for name, row in sides.items() if row}
        numbers = channel_numbers(set(labels.values()))
        return KaldiTables(
            folder=folder,
            files=KaldiTable(folder / "wav.scp"),
            segments=KaldiTable(folder / "segments"),
            speakers=speakers,
            languages=KaldiTable(folder / "utt2lang"),
            channels={name: numbers[label] for name, label in labels.items()},
        )

    def speaker(self, name: str) -> str:
        if self.speakers and not self.speakers.get(name):
            raise ValueError("utt2spk has no speaker for it")
        return self.speakers.get(name, "")

    def sound(self, name: str) -> tuple[FileSound, str]:
        """Return the sound of an utterance, and the recording that it is a part of."""
        if not self.segments:
            return self._sound(name, 0.0, None, None), ""
        file, *times = self.segments.get(name, "").split()[:4] or [""]
        try:
            start_s, end_s = float(times[0]), float(times[1])
            side = channel_numbers({"0", times[2]})[times[2]] if times[2:] else None
        except (ValueError, IndexError) as error:
            raise ValueError("segments has no file, start and end for it") from error
        end = None if end_s == _TO_THE_END else end_s
        if not (0 <= start_s < math.inf and (end is None or start_s < end < math.inf)):
            raise ValueError(f"segments has it from {start_s:g} to {end_s:g} s")
        return self._sound(file, start_s, end, side), file

    def _sound(self, file: str, start_s: float, end_s: float | None, side: int | None) -> FileSound:
        source = self.files.get(file, "")
        if not source:
            raise ValueError(f"wav.scp has no {file}")
        if _ARCHIVE.search(source):
            raise ValueError(f"wav.scp names the archive {source}, which is not read; write a file")
        name, channel = file_of_command(source) if source.endswith("|") else (source, side)
        path = _near(self.folder, Path(name))
        if channel is None and not source.endswith("|"):
            channel = self.channels.get(file)
        # Where the sides are files of their own, the table says which side a file is.
        channel = None if channel is not None and _n_channels(path) == 1 else channel
        return FileSound(path=path, start_s=start_s, end_s=end_s, channel=channel)


@lru_cache(maxsize=1)  # segments of one file follow each other
def _n_channels(path: Path) -> int:
    """Return the number of channels of a file, 0 if it cannot be read."""
    try:
        return int(soundfile.info(path).channels)
    except (RuntimeError, OSError):
        return 0


def _near(folder: Path, path: Path) -> Path:
    """Resolve a relative path from its table, the folder above it, or the working directory."""
    places = (folder / path, folder.parent / path, path)
    return next((place for place in places if place.is_file()), folder / path)


def _read(root: Path, columns: dict[str, str]) -> Iterator[Recording]:
    for folder in kaldi_folders(root):
        tables, texts = KaldiTables.read(folder), KaldiTable(folder / "text")
        split = split_named(folder.name) if folder != root else ""
        for name in sorted({*texts, *(tables.segments or tables.files)}):
            text = texts.get(name, "")
            try:
                if name in texts.twice:
                    raise ValueError("text has it twice")
                (sound, file), speaker = tables.sound(name), tables.speaker(name)
            except ValueError as error:
                entry = FileSound(path=folder / "text")
                yield Recording(id=name, sound=entry, text=text, problem=str(error))
                continue
            yield Recording(
                id=name,
                sound=sound,
                file_id=file,
                text=text,
                speaker=speaker,
                language=tables.languages.get(name, ""),
                split=split,
            )


SEGMENTS = Format(
    name="segments",
    sign="wav.scp and text (Kaldi style)",
    licence="",
    language="en",
    matches=_matches,
    read=_read,
)
