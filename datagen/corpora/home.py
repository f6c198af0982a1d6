"""Where the corpora of a user live, how `corpus=` names them, and several of them as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME, Corpus, Utterance
from microturn.datagen.sets.storage import place
from microturn.model.streams.pcm import Audio

DEFAULT_NAME = "default"  # of the corpus that ships


def corpora_home() -> Path:
    """The folder into which corpora are taken when no other is named."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "microturn" / "corpora"


def folders_of(names: str) -> list[str]:
    """The folders behind `corpus=`: names and folders with commas between; "" is what ships."""
    return [_folder(name.strip()) for name in names.split(",")]


def _folder(name: str) -> str:
    if name in ("", DEFAULT_NAME):
        return str(DEFAULT_FOLDER)
    folder = place(name)
    if not isinstance(folder, Path):  # behind a URL
        return name
    if not folder.exists() and folder.name == name and (corpora_home() / name).is_dir():
        folder = corpora_home() / name
    return str(folder.absolute())


class Corpora(Corpus):
    """Several corpora as one; each keeps its own folder and sound.

    A recording that is in two of them, as a package is that ships in part, is taken once.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self._owners: dict[str, Corpus] = {}
        utterances: list[Utterance] = []
        for corpus in corpora:
            for utterance in corpus:
                owner = self._owners.setdefault(utterance.id, corpus)
                if owner is corpus:
                    utterances.append(utterance)
                elif _said(owner[utterance.id]) != _said(utterance):
                    raise ValueError(
                        f"{corpus.folder} and {owner.folder} both have the id {utterance.id!r}; "
                        "take one of them in under another name"
                    )
        first = corpora[0]
        super().__init__(first.folder, utterances, sample_rate=first.sample_rate)

    def _decode(self, utterance: Utterance) -> Audio:
        return self._owners[utterance.id]._decode(utterance)


def _said(utterance: Utterance) -> tuple[str, str, float]:
    return utterance.speaker, utterance.text, round(utterance.duration, 3)


def open_corpora(names: str, *, sample_rate: int | None = None) -> Corpus:
    """What `corpus=` asks for: one corpus, or several as one."""
    corpora = [Corpus.open(folder, sample_rate=sample_rate) for folder in folders_of(names)]
    return corpora[0] if len(corpora) == 1 else Corpora(corpora)


def digest_of(names: str) -> str:
    """What identifies the recordings behind `corpus=`."""
    digest = sha256()
    for folder in folders_of(names):
        digest.update((place(folder) / MANIFEST_NAME).read_bytes())
    return digest.hexdigest()
