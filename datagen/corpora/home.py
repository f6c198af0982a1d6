"""The folders of corpora, their names in `corpus=`, and several corpora as one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from microturn.configs.paths import data_folder
from microturn.datagen.corpora.manifest import (
    CONVERSATIONS_NAME,
    DEFAULT_FOLDER,
    MANIFEST_NAME,
    Corpus,
    Utterance,
)
from microturn.datagen.sets.storage import place
from microturn.model.streams.pcm import Audio

DEFAULT_NAME = "default"  # name of the corpus that ships


def corpora_home() -> Path:
    """Return the folder of the user's corpora."""
    folder = data_folder()
    if folder is None:
        raise ValueError(
            "there is no home for corpora; give a folder (out= when you add one), or set "
            "XDG_DATA_HOME"
        )
    return folder / "microturn" / "corpora"


def folders_of(names: str) -> list[str]:
    """Resolve `corpus=`, comma-separated names and folders; "" is the corpus that ships."""
    folders, rest = [], names.split(",")
    while rest:
        n = _n_pieces(rest)
        folders.append(_folder(",".join(rest[:n]).strip()))
        del rest[:n]
    return folders


def _n_pieces(pieces: Sequence[str]) -> int:
    """Count the pieces that are one name: a folder's own name may hold commas."""
    for n in range(len(pieces), 1, -1):
        name = ",".join(pieces[:n]).strip()
        if not (Path(name) / MANIFEST_NAME).is_file():
            continue
        others = (Path(_folder(piece.strip())) / MANIFEST_NAME for piece in pieces[:n])
        if all(other.is_file() for other in others):
            raise ValueError(
                f"corpus={name!r} is the name of a folder and a list of others; rename it"
            )
        return n
    return 1


def _folder(name: str) -> str:
    if name in ("", DEFAULT_NAME):
        return str(DEFAULT_FOLDER)
    folder = place(name)
    if not isinstance(folder, Path):  # a URL
        return name
    if folder.exists() or folder.name != name or data_folder() is None:
        return str(folder.absolute())
    if (corpora_home() / name).is_dir():
        folder = corpora_home() / name
    return str(folder.absolute())


class Corpora(Corpus):
    """Several corpora as one; each keeps its own folder and audio.

    A recording that is in two of them is used once: a package may ship in part.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self.parts = tuple(corpora)
        self._owners: dict[str, Corpus] = {}
        utterances: list[Utterance] = []
        for corpus in corpora:
            for utterance in corpus:
                owner = self._owners.setdefault(utterance.id, corpus)
                if owner is corpus:
                    utterances.append(utterance)
                elif _content(owner[utterance.id]) != _content(utterance):
                    raise ValueError(
                        f"{corpus.folder} and {owner.folder} both have the id {utterance.id!r}; "
                        "add one of them under another name"
                    )
        _check_people(utterances)
        first = corpora[0]
        super().__init__(first.folder, utterances, sample_rate=first.sample_rate)

    def owner(self, utterance: Utterance) -> Corpus:
        """Return the corpus that a recording is taken from."""
        return self._owners[utterance.id]

    def attribution_of(self, utterance: Utterance) -> str:
        return self._owners[utterance.id].attribution_of(utterance)

    def _decode(self, utterance: Utterance) -> Audio:
        return self._owners[utterance.id]._decode(utterance)


def _check_people(utterances: Sequence[Utterance]) -> None:
    """Raise ValueError if people of two corpora go by one name: b-c of a, and c of a-b."""
    sources: dict[str, str] = {}
    for utterance in utterances:
        if utterance.speaker.startswith(f"{utterance.source}-"):
            source = sources.setdefault(utterance.speaker, utterance.source)
            if source != utterance.source:
                raise ValueError(
                    f"{utterance.speaker!r} is one person in the corpus {source} and another in "
                    f"{utterance.source}; add one of them under another name"
                )


def _content(utterance: Utterance) -> tuple[str, str, float]:
    return utterance.speaker, utterance.text, round(utterance.duration_s, 3)


def open_corpora(names: str, *, sample_rate: int | None = None) -> Corpus:
    """Open the corpora named by `corpus=`, several as one."""
    corpora = [Corpus.open(folder, sample_rate=sample_rate) for folder in folders_of(names)]
    return corpora[0] if len(corpora) == 1 else Corpora(corpora)


def digest_of(names: str) -> str:
    """Return the digest that identifies the recordings of `corpus=`."""
    digest = sha256()
    for folder in folders_of(names):
        digest.update((place(folder) / MANIFEST_NAME).read_bytes())
        conversations = place(folder) / CONVERSATIONS_NAME
        if conversations.is_file():
            with conversations.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
    return digest.hexdigest()
