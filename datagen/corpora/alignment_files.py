"""Finds the word times of each recording in `alignments=`: by id, or by the path of its file.

Different speakers' files often have the same name, so a file of times belongs to the recording
whose folders end like its own; where several fit equally well, none is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from microturn.configs.reading import files_below
from microturn.datagen.corpora.recordings import FileSound, Recording, read_text
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.word_times import Ctm

_SUFFIXES = (".textgrid", ".json")  # the first is taken if both stand side by side
_BY_ID = 10**6  # more than any number of folders


def with_alignments(recordings: Sequence[Recording], alignments: str) -> list[Recording]:
    """Attach to each recording without words those of `alignments=`, or the file to read."""
    if not alignments:
        return list(recordings)
    path = Path(alignments)
    if not path.exists():
        raise FileNotFoundError(f"alignments={alignments} does not exist")
    files = sorted(files_below(path)) if path.is_dir() else [path]
    tables = [Ctm(read_text(file), str(file)) for file in files if file.suffix.lower() == ".ctm"]
    single = [file for file in files if file.suffix.lower() in _SUFFIXES]
    if not tables and not single:
        raise ValueError(f"alignments={alignments} holds no .ctm, .TextGrid or .json")
    some = _with_tables(recordings, tables) if tables else list(recordings)
    return _with_files(some, _AlignmentPaths(single)) if single else some


def _sound_path(recording: Recording) -> Path | None:
    return recording.sound.path.absolute() if isinstance(recording.sound, FileSound) else None


def _is_part(recording: Recording) -> bool:
    sound = recording.sound
    return isinstance(sound, FileSound) and bool(sound.start_s or sound.end_s is not None)


def _stems(recording: Recording) -> list[str]:
    """Return the names by which a file of times may go; of two microphones it is often neither."""
    path = _sound_path(recording)
    if path is None:
        return [recording.id]
    return list(dict.fromkeys([path.stem, path.stem.removesuffix("_mic1").removesuffix("_mic2")]))


def _homonyms(recordings: Iterable[Recording]) -> dict[str, set[Path]]:
    """Return the files of each name."""
    files: dict[str, set[Path]] = {}
    for recording in recordings:
        path = _sound_path(recording)
        for stem in _stems(recording) if path is not None else ():
            files.setdefault(stem, set()).add(path)  # type: ignore[arg-type]
    return files


def _with_tables(recordings: Sequence[Recording], tables: Sequence[Ctm]) -> list[Recording]:
    homonyms = _homonyms(recordings)

    def found(recording: Recording) -> Recording:
        if recording.words or recording.problem:
            return recording
        try:
            return replace(recording, words=_in_tables(recording, tables, homonyms))
        except ValueError as error:
            return replace(recording, problem=f"its word times are not known: {error}")

    return [found(recording) for recording in recordings]


def _in_tables(
    recording: Recording, tables: Sequence[Ctm], homonyms: dict[str, set[Path]]
) -> tuple[AlignedWord, ...]:
    """Return the words of a recording by its id, or those within it by the name of its file."""
    sound = recording.sound
    channel = sound.channel if isinstance(sound, FileSound) else None
    for table in tables:
        if words := table.find(recording.id, channel, own=True):
            return words
        for name in filter(None, (recording.file_id, *_stems(recording))):
            words = table.find(name, channel)
            if words and name != recording.file_id and len(homonyms.get(name, ())) > 1:
                raise ValueError(f"the CTM names {name}, and several files have that name")
            if words:
                return _within(words, sound) if isinstance(sound, FileSound) else words
    return ()


def _within(words: tuple[AlignedWord, ...], sound: FileSound) -> tuple[AlignedWord, ...]:
    """Return the words whose middle is in a part of a file, from its start."""
    if not sound.start_s and sound.end_s is None:
        return words
    end_s = float("inf") if sound.end_s is None else sound.end_s
    return tuple(
        AlignedWord(
            text=word.text,
            start_s=round(max(word.start_s, sound.start_s) - sound.start_s, 6),
            end_s=round(min(word.end_s, end_s) - sound.start_s, 6),
        )
        for word in words
        if sound.start_s <= (word.start_s + word.end_s) / 2 < end_s
    )


class _AlignmentPaths:
    """Files of word times by name."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._by_stem: dict[str, dict[Path, Path]] = {}
        for file in sorted(files, key=lambda file: _SUFFIXES.index(file.suffix.lower())):
            place = file.absolute().with_suffix("")
            self._by_stem.setdefault(file.stem, {}).setdefault(place, file)

    def best(self, recording: Recording) -> tuple[int, list[Path]]:
        """Return the files that fit a recording best, and how well: by id, or shared folders."""
        own = self._by_stem.get(recording.id, {})
        if len(own) == 1:
            return _BY_ID, list(own.values())
        path = _sound_path(recording)
        if path is None or _is_part(recording):
            return 0, list(own.values())  # a file beside a long recording describes no part of it
        places = next(
            (found for stem in _stems(recording) if (found := self._by_stem.get(stem))), {}
        )
        shared = {place: _n_shared(place, path) for place in places}
        most = max(shared.values(), default=0)
        return most, [places[place] for place, n in shared.items() if n == most]


def _n_shared(one: Path, other: Path) -> int:
    """Count the folders at the end of two paths that are the same."""
    pairs = zip(reversed(one.parts[:-1]), reversed(other.parts[:-1]), strict=False)
    equal = [a == b for a, b in pairs]
    return equal.index(False) if False in equal else len(equal)


def _with_files(recordings: Sequence[Recording], paths: _AlignmentPaths) -> list[Recording]:
    """Attach the files of word times; a file goes to the recording that it fits best."""
    best = [paths.best(recording) for recording in recordings]
    claims: dict[Path, dict[int, set[Path | str]]] = {}
    for recording, (fit, files) in zip(recordings, best, strict=True):
        for file in files:
            sounds = claims.setdefault(file, {}).setdefault(fit, set())
            sounds.add(_sound_path(recording) or recording.id)
    made = []
    for recording, (fit, files) in zip(recordings, best, strict=True):
        won = [file for file in files if fit == max(claims[file])]
        rivals = [file for file in won if len(claims[file][fit]) > 1]
        if recording.words or recording.problem or not won:
            made.append(recording)
        elif len(won) > 1 or rivals:
            made.append(replace(recording, problem=_ambiguity(won, rivals)))
        else:
            made.append(replace(recording, times=won[0]))
    return made


def _ambiguity(files: Sequence[Path], rivals: Sequence[Path]) -> str:
    fault = f"{files[0]} and {files[-1]} fit alike"
    if rivals:
        fault = f"{rivals[0]} fits several recordings of that name alike"
    return f"its word times are not known: {fault}; give alignments= the same folders as the sound"
