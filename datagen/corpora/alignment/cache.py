"""A cache of alignments on disk, under a digest of everything that they depend on."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from microturn.configs.files import write_atomically
from microturn.configs.reading import MISFITS
from microturn.datagen.corpora.alignment.aligner import Aligned, Aligner
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.model.streams.pcm import Audio

FOLDER = "alignments"
_VERSION = 3  # of the method; another version computes again


class CachedAligner:
    """An aligner with a cache folder, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._method = f"{_VERSION} pocketsphinx {version('pocketsphinx')}"
        self._aligner: Aligner | None = None
        self.computed = 0

    @property
    def aligner(self) -> Aligner:
        if self._aligner is None:  # loading its model takes a while
            self._aligner = Aligner()
        return self._aligner

    def align(self, audio: Audio, rate: int, *, text: str) -> Aligned | None:
        """Return the result of `Aligner.align` from the cache, or compute it."""
        path = self._path(audio, f"align {rate} {text}")
        with suppress(FileNotFoundError, *MISFITS):  # a damaged file is made again
            return _read(path)
        aligned = self.aligner.align(audio, rate, text=text)
        self.computed += 1
        write_atomically(path, json.dumps(_to_json(aligned)))
        return aligned

    def prefers(self, audio: Audio, rate: int, *, text: str, others: tuple[str, ...]) -> bool:
        """Return the result of `Aligner.prefers` from the cache, or compute it."""
        path = self._path(audio, f"prefers {rate} {text} {' '.join(others)}")
        with suppress(FileNotFoundError, *MISFITS):
            return bool(json.loads(path.read_text(encoding="utf-8")))
        preferred = self.aligner.prefers(audio, rate, text=text, others=others)
        self.computed += 1
        write_atomically(path, json.dumps(preferred))
        return preferred

    def _path(self, audio: Audio, question: str) -> Path:
        digest = sha256(f"{self._method}\n{question}\n".encode())
        digest.update(audio.tobytes())
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name}.json"


def _to_json(aligned: Aligned | None) -> dict[str, Any] | None:
    if aligned is None:
        return None
    words = [{"text": w.text, "start": w.start_s, "end": w.end_s} for w in aligned.words]
    return {"words": words, "scores": aligned.scores}


def _read(path: Path) -> Aligned | None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored is None:
        return None
    words = tuple(
        AlignedWord(text=word["text"], start_s=word["start"], end_s=word["end"])
        for word in stored["words"]
    )
    return Aligned(words=words, scores=tuple(stored["scores"]))
