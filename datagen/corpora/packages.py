"""The registry of Debian packages of speech: downloaded with apt-get, read like any corpus.

This is the only module of `corpora/` that depends on `default_corpus/`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from microturn.configs.reading import lines_of
from microturn.datagen.corpora import fillets
from microturn.datagen.corpora.conversations.parts import DialogueParts
from microturn.datagen.corpora.cutting import RATE
from microturn.datagen.corpora.default_corpus import asterisk, queen_dialogues
from microturn.datagen.corpora.default_corpus.amazon_queen import (
    ARCHIVE_PATH,
    LICENCE,
    Archive,
)
from microturn.datagen.corpora.default_corpus.queen_selection import (
    HELD_OUT,
    speaker_name,
    usable,
)
from microturn.datagen.corpora.recordings import (
    Decoded,
    Recording,
    decoded,
)
from microturn.datagen.corpora.tags import tags_of
from microturn.model.streams.sound_file import SoundError, read_sound

DOC = "usr/share/doc"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A name that `corpus add` accepts, and its Debian packages."""

    package: str
    more: tuple[str, ...] = ()
    description: str
    language: str
    licence: str
    read: Callable[[Path], Iterator[Recording]]
    dialogues: Callable[[Path], Iterable[DialogueParts]] = lambda root: ()


@dataclass(frozen=True, kw_only=True)
class ArchiveSound:
    """A clip in the data file of a game."""

    path: Path
    name: str
    offset: int
    size: int

    @property
    def place(self) -> str:
        return f"{self.path}:{self.name}"

    def decode(self, *, longest_s: float = inf) -> Decoded:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        return decoded(read_sound(data, longest_s=longest_s), data=data, suffix=".mp3")


@dataclass(frozen=True, kw_only=True)
class G722Sound:
    """A bare G.722 file."""

    path: Path

    @property
    def place(self) -> str:
        return str(self.path)

    def decode(self, *, longest_s: float = inf) -> Decoded:
        if not self.path.is_file():
            raise SoundError("the file is missing")
        return Decoded(audio=asterisk.decode_g722(self.path), rate=RATE)


def _queen(root: Path) -> Iterator[Recording]:
    """Yield every line of Flight of the Amazon Queen whose speaker is known."""
    for clip in Archive(root / ARCHIVE_PATH).clips():
        speaker = speaker_name(clip.speaker)
        if usable(clip):
            name = f"{clip.id}.SB"
            yield Recording(
                id=clip.id,
                sound=ArchiveSound(
                    path=root / ARCHIVE_PATH, name=name, offset=clip.offset, size=clip.size
                ),
                text=clip.text,
                speaker=speaker,
                split="test" if speaker in HELD_OUT else "train",
                tags=tags_of(clip.text),
            )


def _queen_dialogues(root: Path) -> list[DialogueParts]:
    archive = Archive(root / ARCHIVE_PATH)
    return queen_dialogues.dialogues(archive.trees(), archive.clips())


def _prompts(voice: asterisk.SoundPackage) -> Callable[[Path], Iterator[Recording]]:
    """Return a reader of the prompts of an Asterisk voice that have a text."""

    def read(root: Path) -> Iterator[Recording]:
        for key, text in sorted(asterisk.texts(voice.language).items()):
            yield Recording(
                id=key,
                sound=G722Sound(path=root / asterisk.SOUNDS / voice.folder / f"{key}.g722"),
                text=text,
                speaker=voice.speaker,
                split="any",
                key=key,
                tags=asterisk.tags_of(key, text),
            )

    return read


PACKAGES: dict[str, Package] = {
    "fotaq": Package(
        package="flight-of-the-amazon-queen",
        description="the whole dialogue of the game Flight of the Amazon Queen",
        language="en",
        licence=LICENCE,
        read=_queen,
        dialogues=_queen_dialogues,
    ),
    **{
        voice.speaker: Package(
            package=f"asterisk-core-sounds-{voice.language}-g722",
            description=f"telephone prompts, language {voice.language}",
            language=voice.language,
            licence=voice.licence,
            read=_prompts(voice),
        )
        for voice in asterisk.VOICES
    },
    **{
        f"fillets-{language}": Package(
            package=f"fillets-ng-data-{language}",
            more=("fillets-ng-data",),
            description=f"two fish in conversation, language {language}",
            language=language,
            licence="GPL-2.0",
            read=partial(fillets.recordings, language=language),
            dialogues=partial(fillets.dialogues, language=language),
        )
        for language in ("cs", "nl")
    },
}


@contextmanager
def unpacked(source: str, root: str, *, folder: Path) -> Iterator[Path | None]:
    """Unpack a named package into a folder; yields None if `source` is a folder of the user."""
    if Path(source).exists():
        yield None
        return
    package = PACKAGES.get(source)
    if package is None:
        raise FileNotFoundError(
            f"{source} is not a file, a folder or a package of speech; the packages are "
            f"{', '.join(PACKAGES)}"
        )
    if root:
        if not (Path(root) / DOC / package.package).is_dir():
            raise FileNotFoundError(f"root={root} lacks the package {package.package}")
        yield Path(root)
        return
    yield fetch(source, package, folder=folder)


def fetch(name: str, package: Package, *, folder: Path) -> Path:
    """Download and unpack a package of speech; needs no privileges and installs nothing."""
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        raise OSError(
            f"{name} is the Debian package {package.package}, and there is no {missing[0]} here to "
            "fetch it; unpack the package yourself and give root=FOLDER"
        )
    folder.mkdir(parents=True)
    return download((package.package, *package.more), folder)


def download(packages: Sequence[str], folder: Path) -> Path:
    """Download Debian packages into a folder and unpack them there; returns their root."""
    command = ["apt-get", "download", *packages]
    process = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace"
    )
    if process.returncode:
        reason = (lines_of(process.stderr.strip()) or ["no reason given"])[-1]
        raise OSError(f"{' '.join(command)} failed ({reason}); try apt-get update")
    for file in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(file), str(folder / "root")], check=True)
        file.unlink()
    return folder / "root"
