"""A corpus of recorded speech on disk: one JSON line per utterance, the audio in uncompressed tars.

`Corpus.open(folder)` maps the index of `manifest.jsonl` into memory; an utterance is read from its
line when it is asked for. `load` decodes one to mono float32, `word` cuts one word out of it. Tars
are read on demand.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np

from microturn.configs.reading import naming_damage
from microturn.datagen.corpora.index.catalogue import Catalogue, Rows, Utterances
from microturn.datagen.corpora.index.decoded_sounds import DecodedSounds, is_kept
from microturn.datagen.corpora.index.lines import LineIndex
from microturn.datagen.corpora.index.manifest_columns import REBUILD, utterance_of
from microturn.datagen.corpora.index.manifest_index import open_manifest
from microturn.datagen.corpora.index.packed_lines import lines_file
from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.corpora.utterance import QUALITIES, Utterance
from microturn.datagen.corpora.waveform import resampled
from microturn.datagen.sets.storage import Place, place, read_range, size_of
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import SoundError, read_sound, to_mono

DEFAULT_FOLDER = Path(__file__).resolve().parent / "default"
MANIFEST_NAME = "manifest.jsonl"
CONVERSATIONS_NAME = "conversations.jsonl"  # beside it, see conversations/record.py
ATTRIBUTION_NAME = "attribution.json"  # how the authors are named, by speaker, source or "" for all
CACHED_UTTERANCES = 8192  # that a corpus keeps, of those that were asked for
_CACHE_BYTES = 128 * 2**20


def resample(audio: Audio, rate: int, *, new_rate: int) -> Audio:
    """Resample by a polyphase filter; the length in seconds stays."""
    if rate != new_rate:
        common = math.gcd(rate, new_rate)
        audio = resampled(audio, up=new_rate // common, down=rate // common)
    return np.ascontiguousarray(audio, dtype=np.float32)


class Corpus:
    """The utterances of one folder; up to 128 MiB of decoded audio are cached (LRU)."""

    def __init__(
        self,
        folder: Place,
        catalogue: Catalogue,
        read: Callable[[int], Utterance],
        *,
        sample_rate: int | None = None,
        cache: Path | None = None,
    ) -> None:
        self.folder = folder
        self.name = str(folder)  # in messages
        self.catalogue = catalogue
        self.sample_rate = sample_rate or StreamLayout().sample_rate
        self._decoded: DecodedSounds | None = None
        if cache is not None and is_kept(float(catalogue["duration_s"].sum()), self.sample_rate):
            self._decoded = DecodedSounds(cache, self.sample_rate)
        self.utterance = lru_cache(CACHED_UTTERANCES)(read)  # by row
        self._row_of = lru_cache(CACHED_UTTERANCES)(catalogue.row_of)
        self._cache: OrderedDict[str, Audio] = OrderedDict()
        self._cached_bytes = 0

    @staticmethod
    def open(
        folder: str | Place = DEFAULT_FOLDER,
        *,
        sample_rate: int | None = None,
        cache: Path | None = None,
    ) -> Corpus:
        """Open a corpus in a folder or at a URL, and check its manifest against its tars.

        A corpus of recorded conversations alone has an empty manifest. Decoded recordings of a
        small one are kept in the `cache` folder, if one is given.
        """
        folder = place(folder)
        manifest = lines_file(folder, MANIFEST_NAME)
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no corpus folder {folder}; {REBUILD}.")
        if not manifest.is_file():
            raise FileNotFoundError(f"{folder} holds no {MANIFEST_NAME}; {REBUILD}.")
        index = open_manifest(manifest)
        if not len(index) and not lines_file(folder, CONVERSATIONS_NAME).is_file():
            raise ValueError(f"{manifest} is empty; {REBUILD}.")
        catalogue = Catalogue(index.columns)
        _check_tars(folder, catalogue)
        read = partial(_read, manifest, index, catalogue)
        return Corpus(folder, catalogue, read, sample_rate=sample_rate, cache=cache)

    @cached_property
    def utterances(self) -> Utterances:
        """All utterances in the order of the manifest; each is read when it is asked for."""
        return Utterances(self.catalogue, self.utterance, np.arange(len(self)))

    def __len__(self) -> int:
        return len(self.catalogue)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __getitem__(self, utterance_id: str) -> Utterance:
        row = self._row_of(utterance_id)
        if row < 0:
            raise KeyError(f"{self.folder} has no utterance {utterance_id!r}")
        return self.utterance(row)

    def __contains__(self, utterance_id: str) -> bool:
        return self._row_of(utterance_id) >= 0

    def filter(
        self,
        *,
        language: str | None = None,
        speaker: str | None = None,
        source: str | None = None,
        tag: str | None = None,
        split: str | None = None,
    ) -> Utterances:
        """Return matching utterances in the order of the manifest; split "any" matches both."""
        tagged = None if language is None else language_tag(language)
        mask = np.ones(len(self), np.bool_)
        for name, text in (("language", tagged), ("speaker", speaker), ("source", source)):
            if text is not None:
                mask &= self.catalogue.is_one_of(name, (text,))
        if tag is not None:
            mask &= self.catalogue.has("tag", tag)
        if split is not None:
            mask &= self.catalogue.is_one_of("split", (split, "any"))
        return self.utterances.where(mask)

    def attribution_of(self, utterance: Utterance) -> str:
        """Return how the authors of a recording are to be named; "" where nothing says it."""
        texts = self._attribution
        return next((texts[n] for n in (utterance.speaker, utterance.source, "") if n in texts), "")

    def part_of(self, rows: Rows) -> Rows:
        """Return the number of the folder in which each of the rows is."""
        return np.zeros_like(rows)

    @cached_property
    def _attribution(self) -> dict[str, str]:
        path = self.folder / ATTRIBUTION_NAME
        if not path.is_file():
            return {}
        with naming_damage(path, "copy the corpus again"):
            return dict(json.loads(path.read_text(encoding="utf-8")))

    def find_words(
        self, text: str, *, split: str | None = None, at_least: str = "clean"
    ) -> tuple[tuple[Utterance, int], ...]:
        """Return (utterance, word index) of the cuts of a word that have at least this quality."""
        good = QUALITIES[: QUALITIES.index(at_least) + 1]
        found = self.filter(split=split)
        return tuple(
            (utterance, cut.word)
            for utterance in found.where(found.has("word", text))
            for cut in utterance.cuts
            if cut.quality in good and utterance.words[cut.word].text == text
        )

    def load(self, utterance: Utterance) -> Audio:
        """Return the whole recording, mono float32 at the corpus' sample rate; read-only."""
        if utterance.id in self._cache:
            self._cache.move_to_end(utterance.id)
            return self._cache[utterance.id]
        audio = self._decode(utterance)
        audio.setflags(write=False)
        self._cache[utterance.id] = audio
        self._cached_bytes += audio.nbytes
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return audio

    def trimmed(self, utterance: Utterance) -> Audio:
        """Return the recording from its first to its last moment of sound."""
        return self._between(utterance, utterance.start_s, utterance.end_s)

    def word(self, utterance: Utterance, index: int) -> Audio:
        """Return one word of the recording: its cut if there is one, else its aligned times."""
        span = utterance.cut(index) or utterance.words[index]
        return self._between(utterance, span.start_s, span.end_s)

    def _between(self, utterance: Utterance, start_s: float, end_s: float) -> Audio:
        rate = self.sample_rate
        return self.load(utterance)[round(start_s * rate) : round(end_s * rate)]

    def _decode(self, utterance: Utterance) -> Audio:
        tar = self.folder / utterance.tar
        stored = bytes(read_range(tar, start=utterance.offset, size=utterance.size))

        def decode() -> Audio:
            try:
                piece = read_sound(stored)
            except SoundError as error:
                raise ValueError(f"{tar}: {utterance.member}: {error}; {REBUILD}.") from error
            return resample(to_mono(piece.samples)[0], piece.rate, new_rate=self.sample_rate)

        return decode() if self._decoded is None else self._decoded.of(stored, decode)


def _read(manifest: Place, index: LineIndex, catalogue: Catalogue, row: int) -> Utterance:
    try:
        utterance = utterance_of(index.line(row))
    except ValueError:
        utterance = None
    if utterance is None or catalogue.table("id").code(utterance.id) != catalogue["id"][row]:
        raise ValueError(f"{manifest} was changed while it was in use; start again")
    return utterance


def _check_tars(folder: Place, catalogue: Catalogue) -> None:
    for name, end in zip(catalogue.table("tar"), catalogue["tar_ends"].tolist(), strict=True):
        tar = folder / name
        if not tar.is_file():
            raise FileNotFoundError(f"{folder} lacks {name}, named in its manifest; {REBUILD}.")
        if size_of(tar) < end:
            raise ValueError(f"{tar} is shorter than its manifest says; {REBUILD}.")
