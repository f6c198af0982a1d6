"""The columns of a manifest: all that recordings are chosen by, so that none has to be read.

Texts are numbers in sorted tables (see `strings`), in rows as in the file: n utterances, n_words
words in all, n_tags tags in all.

    id source speaker language key split licence licence_from tar   (n,) of texts
    text        (n,) the normalised text
    canonical   (n,) the same with one spelling for sounds that are spelt in many ways
    tag, word   (n_tags,), (n_words,) of texts; tag_ends, word_ends   (n + 1,) where rows end
    duration_s start_s end_s   (n,) seconds
    size        (n,) bytes of the recording
    gap_s       (n,) longest silence between two words; inf where a time is unknown
    text_words  (n,) words of the text as they are aligned
    tar_ends    (n_tars,) bytes that each tar has at least
    times_words times_seconds   (4,) words and their seconds in all, by TIME_CLASSES
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from functools import lru_cache
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.index.lines import Columns
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.index.strings import StringColumn, Strings
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.labels.time_classes import TIME_CLASSES
from microturn.datagen.sets.storage import Place
from microturn.model.streams import normalise

REBUILD: Final = (
    "rebuild it with `microturn corpus add`, `python datagen/corpora/default_corpus/build.py`"
)
STATED_TEXTS: Final = (
    *("id", "source", "speaker", "language", "key"),
    *("split", "licence", "licence_from", "tar"),
)
TEXTS: Final = (*STATED_TEXTS, "text", "canonical")  # one in each row
NUMBERS: Final = ("duration_s", "start_s", "end_s", "size", "gap_s", "text_words")
LISTS: Final = ("tag", "word")  # several texts in a row
_FIRST_OF_TEXT: Final = ord("\t")  # bytes below it stand in no text


def utterance_of(line: bytes) -> Utterance:
    """Read a line of a manifest; raises ValueError with what is wrong in it."""
    try:
        return Utterance.from_json(json.loads(line.decode()))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text ({error.reason})") from error
    except json.JSONDecodeError as error:
        is_text = min(line, default=0) >= _FIRST_OF_TEXT
        raise ValueError(f"it is not {'JSON' if is_text else 'text'} ({error})") from error
    except KeyError as error:
        raise ValueError(f"field {error} is missing") from error
    except TypeError as error:
        raise ValueError(str(error)) from error


def manifest_columns(lines: Iterator[bytes], manifest: Place) -> Columns:
    """Check every line of a manifest and return its columns; errors name the line."""
    reader = _Reader()
    for number, line in enumerate(lines, start=1):
        try:
            reader.add(utterance_of(line))
        except ValueError as error:
            raise ValueError(f"{manifest}, line {number}: {error}; {REBUILD}.") from error
    columns = reader.columns()
    twice = np.flatnonzero(np.bincount(columns["id"])[columns["id"]] > 1)
    if len(twice):
        name = Strings.of(columns, "id")[columns["id"][twice[0]]]
        raise ValueError(f"{manifest} has the id {name!r} twice; {REBUILD}.")
    return columns


class _Reader:
    """The columns of the lines so far."""

    def __init__(self) -> None:
        self.texts = {name: StringColumn() for name in (*TEXTS, *LISTS)}
        self.numbers = {name: array("d") for name in NUMBERS}
        self.ends = {name: array("q", [0]) for name in LISTS}
        self.times_words = [0] * len(TIME_CLASSES)
        self.times_seconds = [0.0] * len(TIME_CLASSES)
        self.tar_ends: dict[str, int] = {}

    def add(self, utterance: Utterance) -> None:
        for name in STATED_TEXTS:
            self.texts[name].append(getattr(utterance, name))
        text, spelling, n_words = _forms(utterance.text)
        self.texts["text"].append(text)
        self.texts["canonical"].append(spelling)
        self.texts["tag"].extend(sorted(utterance.tags))
        self.texts["word"].extend([word.text for word in utterance.words])
        for word in utterance.words:
            times = TIME_CLASSES.index(word.times)
            self.times_words[times] += _forms(word.text)[2]
            self.times_seconds[times] += word.end_s - word.start_s
        for name in LISTS:
            self.ends[name].append(len(self.texts[name]))
        for name in ("duration_s", "start_s", "end_s", "size"):
            self.numbers[name].append(getattr(utterance, name))
        self.numbers["gap_s"].append(_longest_gap_s(utterance))
        self.numbers["text_words"].append(n_words)
        end = utterance.offset + utterance.size
        self.tar_ends[utterance.tar] = max(end, self.tar_ends.get(utterance.tar, 0))

    def columns(self) -> Columns:
        columns: dict[str, NDArray[Any]] = {}
        for name, column in self.texts.items():
            columns |= column.arrays(name)
        for name, numbers in self.numbers.items():
            kind = np.int64 if name in ("size", "text_words") else np.float64
            columns[name] = np.array(numbers, kind)
        for name, ends in self.ends.items():
            columns[f"{name}_ends"] = np.array(ends, np.int64)
        columns["times_words"] = np.array(self.times_words, np.int64)
        columns["times_seconds"] = np.array(self.times_seconds, np.float64)
        tars = Strings.of(columns, "tar")
        columns["tar_ends"] = np.array([self.tar_ends[name] for name in tars], np.int64)
        return columns


@lru_cache(maxsize=2**15)
def _forms(text: str) -> tuple[str, str, int]:
    """Return a text normalised and in one spelling, and the number of its words."""
    return normalise(text), canonical(text), len(words_of(text))


def _longest_gap_s(utterance: Utterance) -> float:
    words = utterance.words
    if not all(word.is_known for word in words):
        return inf
    gaps = (after.start_s - before.end_s for before, after in zip(words, words[1:], strict=False))
    return max(gaps, default=-inf)
