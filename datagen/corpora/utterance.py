"""A recording of a corpus as a line of its manifest: its text, word times, and place in a tar.

Times in a manifest are in seconds; its keys have no unit (`start`, `duration`), because manifests
are identified by digest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.labels.time_classes import ALIGNED, KNOWN, UNKNOWN, check_times
from microturn.model.streams import normalise

STATED, LAYOUT, UNKNOWN_LICENCE = "stated", "layout", "unknown"  # origins of a licence
SPLITS = ("train", "test", "any")
QUALITIES = ("clean", "usable", "poor")  # of cuts, best first


def least_certain(origins: Collection[str]) -> str:
    """Return the least certain of these origins of licences."""
    return next((one for one in (UNKNOWN_LICENCE, LAYOUT) if one in origins), STATED)


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
        scalars: dict[str, Any] = {
            field: value if type(value := line[key]) is kind else _typed(value, kind, key=key)
            for key, field, kind in _FIELDS
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


def _field_of(key: str) -> str:
    """Return the field of a manifest key: times carry their unit in the program."""
    return f"{key}_s" if key in ("duration", "start", "end") else key


_FIELDS = tuple((key, _field_of(key), kind) for key, kind in _SCALARS.items())


def word_to_json(word: AlignedWord, times: str) -> list[Any]:
    """Return text, start and end; and the class of the times where it is not that of the line."""
    line: list[Any] = [word.text, word.start_s, word.end_s]
    return line if word.times == times else [*line, word.times]


def word_from_json(line: list[Any], times: str) -> AlignedWord:
    text, start, end, *own = line
    if own:
        (times,) = own
    elif times == ALIGNED and not text.isalpha() and " " in normalise(text):
        times = UNKNOWN  # several words in one span, as earlier versions wrote unknown times
    check_times(times)
    return AlignedWord(text=str(text), start_s=float(start), end_s=float(end), times=times)


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
