"""Alignments kept on disk by what they depend on, so that none is computed twice."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from microturn.configs.files import write_atomically
from microturn.datagen.corpora.alignment import Aligned, Aligner
from microturn.datagen.corpora.manifest import AlignedWord
from microturn.model.streams.pcm import Audio

_VERSION = 1  # of the method; another one asks again


class CachedAligner:
    """An aligner that remembers in a folder; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "alignments"
        self._method = f"{_VERSION} pocketsphinx {version('pocketsphinx')}"
        self._aligner: Aligner | None = None
        self.computed = 0

    @property
    def aligner(self) -> Aligner:
        if self._aligner is None:  # its model takes a while to load
            self._aligner = Aligner()
        return self._aligner

    def align(self, audio: Audio, rate: int, text: str) -> Aligned | None:
        """As `Aligner.align`, from the cache where it is there."""
        path = self._path(audio, f"align {rate} {text}")
        if path.is_file():
            return _read(path)
        aligned = self.aligner.align(audio, rate, text)
        self.computed += 1
        write_atomically(path, json.dumps(aligned and asdict(aligned)))
        return aligned

    def prefers(self, audio: Audio, rate: int, text: str, others: tuple[str, ...]) -> bool:
        """As `Aligner.prefers`, from the cache where it is there."""
        path = self._path(audio, f"prefers {rate} {text} {' '.join(others)}")
        if path.is_file():
            return bool(json.loads(path.read_text()))
        preferred = self.aligner.prefers(audio, rate, text, others)
        self.computed += 1
        write_atomically(path, json.dumps(preferred))
        return preferred

    def _path(self, audio: Audio, question: str) -> Path:
        digest = sha256(f"{self._method}\n{question}\n".encode())
        digest.update(audio.tobytes())
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name}.json"


def _read(path: Path) -> Aligned | None:
    stored = json.loads(path.read_text())
    if stored is None:
        return None
    words = tuple(AlignedWord(**word) for word in stored["words"])
    return Aligned(words=words, scores=tuple(stored["scores"]))
