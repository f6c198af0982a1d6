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
    """Writes accepted recordings into tars and the manifest, and lists the skipped ones.

    Of a recording that is written, its names and the digest of its sound stay in memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = (folder / MANIFEST_NAME).open("w", encoding="utf-8")
        self._tar: tarfile.TarFile | None = None
        self._digests: dict[bytes, str] = {}
        self._ids: set[str] = set()
        self.skipped: list[SkippedRecording] = []
        self.mended: Counter[str] = Counter()
        self.stored: dict[str, str] = {}  # ids by recording; of equal sounds all name the first
        self._n_tars = 0

    @property
    def n_utterances(self) -> int:
        """How many recordings are written."""
        return len(self._ids)

    def add(self, outcome: AcceptedRecording | SkippedRecording) -> None:
        if isinstance(outcome, SkippedRecording):
            self.skipped.append(outcome)
            return
        utterance = outcome.utterance
        twin = self._digests.setdefault(bytes.fromhex(outcome.digest), utterance.id)
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
        self.mended.update(outcome.mended)
        line = self._stored(utterance, outcome.data).to_json()
        self._manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._ids.add(utterance.id)
        self.stored[name] = utterance.id

    def find(self, outcome: AcceptedRecording) -> str:
        """Return the id under which a recording is stored; "" if it is not."""
        if outcome.utterance.id in self._ids:
            return outcome.utterance.id
        return self._digests.get(bytes.fromhex(outcome.digest), "")

    def _stored(self, utterance: Utterance, data: bytes) -> Utterance:
        """Append a file; returns the utterance with its position."""
        member = f"{self.n_utterances:08d}{utterance.member}"
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
        self._tar.getmembers().clear()  # which nobody asks for
        return f"audio-{self._n_tars - 1:04d}.tar", offset

    def _begin(self) -> None:
        if self._tar is not None:
            self._tar.close()
        path = self._folder / f"audio-{self._n_tars:04d}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._n_tars += 1

    def close(self) -> None:
        """Close the last tar and the manifest, and write the list of skipped recordings."""
        self._manifest.close()
        if self._tar is not None:
            self._tar.close()
        with (self._folder / SKIPPED_NAME).open("w", encoding="utf-8") as file:
            for skipped in self.skipped:
                file.write(json.dumps(vars(skipped), ensure_ascii=False) + "\n")
