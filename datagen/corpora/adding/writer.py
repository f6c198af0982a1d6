"""Writes the recordings of a corpus: tars, the manifest, and the list of what was skipped."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from microturn.datagen.corpora.checking import AcceptedRecording, SkippedRecording
from microturn.datagen.corpora.manifest import MANIFEST_NAME
from microturn.datagen.corpora.utterance import Utterance

SKIPPED_NAME: Final = "skipped.jsonl"
TAR_BYTES: Final = 2**30  # a new tar begins after this many


class CorpusWriter:
    """Writes accepted recordings into tars, and lists the skipped ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tar: tarfile.TarFile | None = None
        self._digests: dict[str, str] = {}
        self._ids: set[str] = set()
        self.utterances: list[Utterance] = []
        self.skipped: list[SkippedRecording] = []
        self.mended: Counter[str] = Counter()
        self.stored: dict[str, Utterance] = {}  # by recording; of equal sounds all name the first
        self._n_tars = 0

    def add(self, outcome: AcceptedRecording | SkippedRecording) -> None:
        if isinstance(outcome, SkippedRecording):
            self.skipped.append(outcome)
            return
        utterance = outcome.utterance
        twin = self._digests.setdefault(outcome.digest, utterance.id)
        name = utterance.id.partition("/")[2]
        reason = f"it is the same sound as {twin}" if twin != utterance.id else ""
        if utterance.id in self._ids:
            reason = "its id occurs twice"
        if reason:
            skipped = SkippedRecording(
                id=name, place=outcome.place, kind="duplicate", reason=reason
            )
            self.skipped.append(skipped)
            self.stored.setdefault(name, self.stored[twin.partition("/")[2]])
            return
        self._ids.add(utterance.id)
        self.mended.update(outcome.mended)
        self.utterances.append(self._stored(utterance, outcome.data))
        self.stored[name] = self.utterances[-1]

    def find(self, outcome: AcceptedRecording) -> str:
        """Return the id under which a recording is stored; "" if it is not."""
        if outcome.utterance.id in self._ids:
            return outcome.utterance.id
        return self._digests.get(outcome.digest, "")

    def _stored(self, utterance: Utterance, data: bytes) -> Utterance:
        """Append a file; returns the utterance with its position."""
        member = f"{len(self.utterances):08d}{utterance.member}"
        name, offset = self.append(member, BytesIO(data), size=len(data))
        return replace(utterance, tar=name, member=member, offset=offset)

    def append(self, member: str, data: BinaryIO, *, size: int) -> tuple[str, int]:
        """Append a file without date and owner; returns its tar, and where its bytes begin."""
        if self._tar is None or self._tar.offset > TAR_BYTES:
            self._begin()
        assert self._tar is not None
        info = tarfile.TarInfo(member)
        info.size = size
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(info, data)
        return f"audio-{self._n_tars - 1:04d}.tar", offset

    def _begin(self) -> None:
        if self._tar is not None:
            self._tar.close()
        path = self._folder / f"audio-{self._n_tars:04d}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._n_tars += 1

    def close(self) -> None:
        """Close the last tar and write the manifest and the list of skipped recordings."""
        if self._tar is not None:
            self._tar.close()
        with (self._folder / SKIPPED_NAME).open("w", encoding="utf-8") as file:
            for skipped in self.skipped:
                file.write(json.dumps(vars(skipped), ensure_ascii=False) + "\n")
        with (self._folder / MANIFEST_NAME).open("w", encoding="utf-8") as file:
            for utterance in self.utterances:
                file.write(json.dumps(utterance.to_json(), ensure_ascii=False) + "\n")
