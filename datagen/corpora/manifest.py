"""A corpus of recorded speech on disk: one JSON line per utterance, the audio in uncompressed tars.

`Corpus.open(folder)` reads and checks `manifest.jsonl`; `load` decodes one utterance to mono
float32, `word` cuts one word out of it. Tars are read on demand. Times in the manifest are in
seconds; its keys have no unit (`start`, `duration`), because manifests are identified by digest.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.corpora.waveform import resampled
from microturn.datagen.labels.time_classes import ALIGNED, KNOWN, UNKNOWN, check_times
from microturn.datagen.sets.storage import Place, place, read_range, size_of
from microturn.model.streams import StreamLayout, normalise
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import SoundError, read_sound, to_mono

DEFAULT_FOLDER = Path(__file__).resolve().parent / "default"
MANIFEST_NAME = "manifest.jsonl"
CONVERSATIONS_NAME = "conversations.jsonl"  # beside it, see conversations/record.py
ATTRIBUTION_NAME = "attribution.json"  # how the authors are named, by speaker, source or "" for all
STATED, LAYOUT, UNKNOWN_LICENCE = "stated", "layout", "unknown"  # origins of a licence
SPLITS = ("train", "test", "any")
QUALITIES = ("clean", "usable", "poor")  # of cuts, best first
_CACHE_BYTES = 128 * 2**20
_REBUILD = (
    "rebuild it with `microturn corpus add`, `python datagen/corpora/default_corpus/build.py`"
)


@dataclass(frozen=True, kw_only=True)
class AlignedWord:
    """A word of the transcript; times count from the start of its utterance."""

    text: str
    start_s: float
    end_s: float
    times: str = ALIGNED  # one of TIME_CLASSES

    @property
    def is_known(self) -> bool:
        return self.times in KNOWN


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A word that may be cut out and used by itself; its edges are found by energy."""

    word: int  # index into Utterance.words
    start_s: float
    end_s: float
    score: float  # acoustic fit of the word, 0 is best
    quality: str  # clean: silence on both sides; usable: cut at dips of energy; poor: neither

    @property
    def clean(self) -> bool:
        return self.quality == "clean"


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording: speaker, text, word times, the position of its bytes, and its licence."""

    id: str
    source: str
    speaker: str
    language: str
    text: str
    key: str  # identifies a phrase across languages; "": it has no parallel
    words: tuple[AlignedWord, ...]
    cuts: tuple[Cut, ...]
    duration_s: float
    start_s: float  # first moment of sound
    end_s: float  # last moment of sound
    sample_rate: int  # of the stored file
    tar: str
    member: str
    offset: int
    size: int
    licence: str
    tags: frozenset[str]
    split: str  # train, test, or any (a voice that both may use)
    licence_from: str = STATED  # stated by somebody, assumed from the layout, or unknown

    def cut(self, word: int) -> Cut | None:
        """Return the cut of the word at this index, if there is one."""
        return next((cut for cut in self.cuts if cut.word == word), None)

    @property
    def times(self) -> str:
        """How the word times of the line are known: the class of the known ones, if any."""
        known = (word.times for word in self.words if word.is_known)
        return next(known, self.words[0].times if self.words else ALIGNED)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest line of this utterance."""
        line = {key: getattr(self, _field_of(key)) for key in _SCALARS}
        times = self.times
        if times != ALIGNED:
            line["times"] = times
        if self.licence_from != STATED:
            line["licence_from"] = self.licence_from
        line["words"] = [word_to_json(word, times) for word in self.words]
        line["cuts"] = [{key: getattr(cut, _field_of(key)) for key in _CUT} for cut in self.cuts]
        line["tags"] = sorted(self.tags)
        return line

    @staticmethod
    def from_json(line: dict[str, Any]) -> Utterance:
        """Read a manifest line; a wrong or missing field raises KeyError, TypeError, ValueError."""
        scalars = {
            _field_of(key): _typed(line[key], kind, key=key) for key, kind in _SCALARS.items()
        }
        scalars["language"] = language_tag(scalars["language"])  # of manifests of any age
        times = str(line.get("times", ALIGNED))
        words = tuple(word_from_json(word, times) for word in line["words"])
        utterance = Utterance(
            **scalars,
            words=words,
            cuts=tuple(
                Cut(**{_field_of(key): value for key, value in cut.items()}) for cut in line["cuts"]
            ),
            tags=frozenset(line["tags"]),
            licence_from=str(line.get("licence_from", STATED)),
        )
        _check(utterance)
        return utterance


_CUT = ("word", "start", "end", "score", "quality")  # keys of a cut in the manifest
_SCALARS: dict[str, type] = {
    "id": str,
    "source": str,
    "speaker": str,
    "language": str,
    "text": str,
    "key": str,
    "duration": float,
    "start": float,
    "end": float,
    "sample_rate": int,
    "tar": str,
    "member": str,
    "offset": int,
    "size": int,
    "licence": str,
    "split": str,
}


def word_to_json(word: AlignedWord, times: str) -> list[Any]:
    """Return text, start and end; and the class of the times where it is not that of the line."""
    line: list[Any] = [word.text, word.start_s, word.end_s]
    return line if word.times == times else [*line, word.times]


def word_from_json(line: list[Any], times: str) -> AlignedWord:
    text, start, end, *own = line
    if own:
        (times,) = own
    elif times == ALIGNED and " " in normalise(text):
        times = UNKNOWN  # several words in one span, as earlier versions wrote unknown times
    check_times(times)
    return AlignedWord(text=str(text), start_s=float(start), end_s=float(end), times=times)


def _field_of(key: str) -> str:
    """Return the field of a manifest key: times carry their unit in the program."""
    return f"{key}_s" if key in ("duration", "start", "end") else key


def _typed(value: object, kind: type, *, key: str) -> Any:
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"field {key!r} is {value!r}, not {kind.__name__}")
    return value


def _check(utterance: Utterance) -> None:
    if utterance.split not in SPLITS:
        raise ValueError(f"field 'split' is {utterance.split!r}, not one of {', '.join(SPLITS)}")
    if utterance.duration_s <= 0 or utterance.size <= 0 or utterance.offset < 0:
        raise ValueError("fields 'duration', 'offset' and 'size' must be positive")
    spans = [(utterance.start_s, utterance.end_s)]
    spans += [(word.start_s, word.end_s) for word in utterance.words]
    spans += [(cut.start_s, cut.end_s) for cut in utterance.cuts]
    for start, end in spans:
        if not 0 <= start < end <= utterance.duration_s + 0.01:
            raise ValueError(f"times {start} to {end} s are not inside the recording")
    for cut in utterance.cuts:
        if not 0 <= cut.word < len(utterance.words):
            raise ValueError(f"a cut names word {cut.word} of {len(utterance.words)}")
        if cut.quality not in QUALITIES:
            raise ValueError(f"a cut's quality is {cut.quality!r}, not {', '.join(QUALITIES)}")


def resample(audio: Audio, rate: int, *, new_rate: int) -> Audio:
    """Resample by a polyphase filter; the length in seconds stays."""
    if rate != new_rate:
        common = math.gcd(rate, new_rate)
        audio = resampled(audio, up=new_rate // common, down=rate // common)
    return np.ascontiguousarray(audio, dtype=np.float32)


class Corpus:
    """The utterances of one folder; up to 128 MiB of decoded audio are cached (LRU)."""

    def __init__(
        self, folder: Place, utterances: Iterable[Utterance], *, sample_rate: int | None = None
    ) -> None:
        self.folder = folder
        self.utterances = tuple(utterances)
        self.sample_rate = sample_rate or StreamLayout().sample_rate
        self._by_id = {utterance.id: utterance for utterance in self.utterances}
        self._cache: OrderedDict[str, Audio] = OrderedDict()
        self._cached_bytes = 0

    @staticmethod
    def open(folder: str | Place = DEFAULT_FOLDER, *, sample_rate: int | None = None) -> Corpus:
        """Read a corpus from a folder or a URL, and check its manifest against its tars.

        A corpus of recorded conversations alone has an empty manifest.
        """
        folder = place(folder)
        manifest = folder / MANIFEST_NAME
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no corpus folder {folder}; {_REBUILD}.")
        if not manifest.is_file():
            raise FileNotFoundError(f"{folder} holds no {MANIFEST_NAME}; {_REBUILD}.")
        utterances = list(_read_lines(manifest))
        if not utterances and not (folder / CONVERSATIONS_NAME).is_file():
            raise ValueError(f"{manifest} is empty; {_REBUILD}.")
        ids = [utterance.id for utterance in utterances]
        if len(set(ids)) != len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise ValueError(f"{manifest} has the id {twice!r} twice; {_REBUILD}.")
        _check_tars(folder, utterances)
        return Corpus(folder, utterances, sample_rate=sample_rate)

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __getitem__(self, utterance_id: str) -> Utterance:
        try:
            return self._by_id[utterance_id]
        except KeyError:
            raise KeyError(f"{self.folder} has no utterance {utterance_id!r}") from None

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._by_id

    def filter(
        self,
        *,
        language: str | None = None,
        speaker: str | None = None,
        source: str | None = None,
        tag: str | None = None,
        split: str | None = None,
    ) -> tuple[Utterance, ...]:
        """Return matching utterances in the order of the manifest; split "any" matches both."""
        language = None if language is None else language_tag(language)
        return tuple(
            utterance
            for utterance in self.utterances
            if (language is None or utterance.language == language)
            and (speaker is None or utterance.speaker == speaker)
            and (source is None or utterance.source == source)
            and (tag is None or tag in utterance.tags)
            and (split is None or utterance.split in (split, "any"))
        )

    def attribution_of(self, utterance: Utterance) -> str:
        """Return how the authors of a recording are to be named; "" where nothing says it."""
        texts = self._attribution
        return next((texts[n] for n in (utterance.speaker, utterance.source, "") if n in texts), "")

    @cached_property
    def _attribution(self) -> dict[str, str]:
        path = self.folder / ATTRIBUTION_NAME
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def find_words(
        self, text: str, *, split: str | None = None, at_least: str = "clean"
    ) -> tuple[tuple[Utterance, int], ...]:
        """Return (utterance, word index) of the cuts of a word that have at least this quality."""
        good = QUALITIES[: QUALITIES.index(at_least) + 1]
        return tuple(
            (utterance, cut.word)
            for utterance in self.filter(split=split)
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
        stored = read_range(tar, start=utterance.offset, size=utterance.size)
        try:
            piece = read_sound(bytes(stored))
        except SoundError as error:
            raise ValueError(f"{tar}: {utterance.member}: {error}; {_REBUILD}.") from error
        return resample(to_mono(piece.samples)[0], piece.rate, new_rate=self.sample_rate)


def _read_lines(manifest: Place) -> Iterator[Utterance]:
    try:
        text = manifest.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{manifest} is not text ({error.reason}); {_REBUILD}.") from error
    for number, line in enumerate(lines_of(text), start=1):
        try:
            yield Utterance.from_json(json.loads(line))
        except KeyError as error:
            reason = f"field {error} is missing"
        except (TypeError, ValueError) as error:
            reason = str(error)
        else:
            continue
        raise ValueError(f"{manifest}, line {number}: {reason}; {_REBUILD}.")


def _check_tars(folder: Place, utterances: Iterable[Utterance]) -> None:
    ends: dict[str, int] = {}
    for utterance in utterances:
        end = utterance.offset + utterance.size
        ends[utterance.tar] = max(end, ends.get(utterance.tar, 0))
    for name, end in sorted(ends.items()):
        tar = folder / name
        if not tar.is_file():
            raise FileNotFoundError(f"{folder} lacks {name}, named in its manifest; {_REBUILD}.")
        if size_of(tar) < end:
            raise ValueError(f"{tar} is shorter than its manifest says; {_REBUILD}.")
