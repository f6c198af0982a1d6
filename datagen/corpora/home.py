"""The folders of corpora, their names in `corpus=`, and several corpora as one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from microturn.configs.paths import data_folder
from microturn.datagen.corpora.index.catalogue import Catalogue, Rows, Utterances, joined
from microturn.datagen.corpora.index.packed_lines import content_of, lines_file
from microturn.datagen.corpora.manifest import (
    CONVERSATIONS_NAME,
    DEFAULT_FOLDER,
    MANIFEST_NAME,
    Corpus,
)
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.sets.storage import place
from microturn.model.streams.pcm import Audio

DEFAULT_NAME = "default"  # name of the corpus that ships
SCENES_FOLDER: Final = DEFAULT_FOLDER.parent / "scenes"  # whole dialogues, which also ship
SHIPPED: Final = {DEFAULT_NAME: DEFAULT_FOLDER, SCENES_FOLDER.name: SCENES_FOLDER}  # by name


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
        if not is_corpus(Path(name)):
            continue
        if all(is_corpus(Path(_folder(piece.strip()))) for piece in pieces[:n]):
            raise ValueError(
                f"corpus={name!r} is the name of a folder and a list of others; rename it"
            )
        return n
    return 1


def is_corpus(folder: Path) -> bool:
    """Whether a folder holds a corpus."""
    return lines_file(folder, MANIFEST_NAME).is_file()


def _folder(name: str) -> str:
    if name in ("", *SHIPPED):
        return str(SHIPPED[name or DEFAULT_NAME])
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
        kept = [_not_before(corpora[:n], corpus) for n, corpus in enumerate(corpora)]
        self._rows = np.concatenate(kept)  # (n,) in its part
        self._part = np.repeat(np.arange(len(corpora)), [len(rows) for rows in kept])
        catalogue = joined([corpus.catalogue for corpus in corpora], kept)
        _check_people(catalogue)
        first = corpora[0]
        super().__init__(first.folder, catalogue, self._read_of_part, sample_rate=first.sample_rate)
        self.name = ", ".join(corpus.name for corpus in corpora)

    def owner(self, utterance: Utterance) -> Corpus:
        """Return the corpus that a recording is taken from."""
        return self.parts[self._part[self._row_of(utterance.id)]]

    def of_parts(self, numbers: Sequence[int]) -> Utterances:
        """Return the recordings that are taken from some of the parts, by their numbers."""
        return self.utterances.where(np.isin(self._part, numbers))

    def part_of(self, rows: Rows) -> Rows:
        return self._part[rows]

    def _read_of_part(self, row: int) -> Utterance:
        return self.parts[self._part[row]].utterance(int(self._rows[row]))

    def attribution_of(self, utterance: Utterance) -> str:
        return self.owner(utterance).attribution_of(utterance)

    def _decode(self, utterance: Utterance) -> Audio:
        return self.owner(utterance)._decode(utterance)


def _not_before(earlier: Sequence[Corpus], corpus: Corpus) -> Rows:
    """Return the rows of a corpus that no earlier one has; ValueError if one has other content."""
    catalogue = corpus.catalogue
    kept = np.ones(len(corpus), np.bool_)
    for other in earlier:
        smaller, larger = sorted((catalogue, other.catalogue), key=len)
        shared_ids = set(smaller.table("id")).intersection(larger.table("id"))
        shared = catalogue.is_one_of("id", shared_ids)
        for row in np.flatnonzero(shared & kept).tolist():
            utterance = corpus.utterances[row]
            if _content(other[utterance.id]) != _content(utterance):
                raise ValueError(
                    f"{corpus.folder} and {other.folder} both have the id {utterance.id!r}; "
                    "add one of them under another name"
                )
        kept &= ~shared
    return np.flatnonzero(kept)


def _check_people(catalogue: Catalogue) -> None:
    """Raise ValueError if people of two corpora go by one name: b-c of a, and c of a-b."""
    pairs = np.stack([catalogue["speaker"], catalogue["source"]])
    _, first = np.unique(pairs, axis=1, return_index=True)
    sources: dict[str, str] = {}
    for row in sorted(first.tolist()):
        speaker = catalogue.table("speaker")[catalogue["speaker"][row]]
        source = catalogue.table("source")[catalogue["source"][row]]
        if speaker.startswith(f"{source}-") and sources.setdefault(speaker, source) != source:
            raise ValueError(
                f"{speaker!r} is one person in the corpus {sources[speaker]} and another in "
                f"{source}; add one of them under another name"
            )


def _content(utterance: Utterance) -> tuple[str, str, float]:
    return utterance.speaker, utterance.text, round(utterance.duration_s, 3)


def open_corpora(
    names: str, *, sample_rate: int | None = None, cache: Path | None = None
) -> Corpus:
    """Open the corpora named by `corpus=`, several as one; `cache` as in `Corpus.open`."""
    corpora = [
        Corpus.open(folder, sample_rate=sample_rate, cache=cache) for folder in folders_of(names)
    ]
    return corpora[0] if len(corpora) == 1 else Corpora(corpora)


def digest_of(names: str) -> str:
    """Return the digest that identifies the recordings of `corpus=`, gzipped or not."""
    digest = sha256()
    for folder in folders_of(names):
        for name in (MANIFEST_NAME, CONVERSATIONS_NAME):
            file = lines_file(place(folder), name)
            if name == CONVERSATIONS_NAME and not file.is_file():
                continue
            for piece in content_of(file):
                digest.update(piece)
    return digest.hexdigest()
