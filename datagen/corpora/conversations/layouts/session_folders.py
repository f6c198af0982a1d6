"""Sessions of a tree: the folders that hold sound and its transcript, in or below themselves.

A folder is one session if it is the lowest that has both. Folders around sessions are only walked.
Nothing is kept but the paths of the session at hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from microturn.datagen.corpora.recordings import AUDIO_SUFFIXES

_MAX_SOUND_FOLDERS = 2  # below one session: a folder of all sound, or one for each person


@dataclass
class SessionFiles:
    """Paths of one session; either list may be empty where something is missing."""

    folder: Path
    sounds: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    settings: list[Path] = field(default_factory=list)  # .json that say who is on which channel
    session: str = ""  # its name, where that is not the folder's

    def name(self, root: Path) -> str:
        """Return an id: the path from the root; of files in the root itself, the root's name."""
        place = self.session or self.folder.relative_to(root).as_posix()
        return root.name if place == "." else place


_SETTINGS = ("channel_map.json",)
_Walk = Generator[SessionFiles, None, list[SessionFiles] | None]


def sessions(root: Path, is_text: Callable[[Path], bool]) -> Iterator[SessionFiles]:
    """Yield sessions in the order of their names; OSError for a folder that cannot be read."""
    loose = yield from _walk(root, is_text, ())
    yield from loose or ()


def _walk(
    folder: Path, is_text: Callable[[Path], bool], above: tuple[tuple[int, int], ...]
) -> _Walk:
    """Yield the sessions below a folder; if there are none, return the files that wait for more."""
    status = folder.stat()
    place = (status.st_dev, status.st_ino)
    if place in above:  # a link back to a folder around it
        return []
    own, waiting, has_sessions = SessionFiles(folder), list[SessionFiles](), False
    with os.scandir(folder) as found:
        names = sorted((entry.name, entry.is_dir()) for entry in found)
    for name, is_folder in names:
        path = folder / name
        if name.startswith("."):  # other systems leave `._ann.wav` beside `ann.wav`
            continue
        if is_folder:
            below = yield from _walk(path, is_text, (*above, place))
            has_sessions = has_sessions or below is None
            waiting += below or ()
            if has_sessions:  # others beside it lack something: nothing to wait for
                yield from waiting
                waiting.clear()
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            own.sounds.append(path)
        elif name in _SETTINGS:
            own.settings.append(path)
        elif is_text(path):
            own.texts.append(path)
    if has_sessions:
        if own.sounds or own.texts:
            yield own
        return None
    single = list(_one_by_one(own))
    if single:
        yield from waiting
        yield from single
        return None
    parts = [part for part in (own, *waiting) if part.sounds or part.texts or part.settings]
    together = SessionFiles(
        folder,
        sounds=[path for part in parts for path in part.sounds],
        texts=[path for part in parts for path in part.texts],
        settings=[path for part in parts for path in part.settings],
    )
    n_sound_folders = sum(bool(part.sounds) for part in parts)
    if together.sounds and together.texts and n_sound_folders <= _MAX_SOUND_FOLDERS:
        yield together
        return None
    return parts


def _one_by_one(files: SessionFiles) -> Iterator[SessionFiles]:
    """Yield each sound with the text of its name, of a folder that holds many such pairs."""
    texts: dict[str, list[Path]] = {}
    for path in files.texts:
        texts.setdefault(path.stem, []).append(path)
    stems = [path.stem for path in files.sounds]
    if len(stems) < 3 or not set(stems) <= set(texts):
        return
    for path in files.sounds:
        yield SessionFiles(path.with_suffix(""), sounds=[path], texts=texts[path.stem])
