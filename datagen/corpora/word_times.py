"""Reads word times from files: TextGrid, CTM, and the JSON of common aligners."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.manifest import AlignedWord
from microturn.datagen.corpora.recordings import read_text
from microturn.model.streams import normalise

_SILENCE = frozenset(["", "sil", "sp", "spn", "<eps>", "<sil>", "<unk>", "[noise]", "<p>", "<s>"])
_QUOTED = r'"((?:[^"]|"")*)"'
_NUMBER = r"-?[\d.]+(?:[eE]-?\d+)?"


def words_of_textgrid(text: str) -> tuple[AlignedWord, ...]:
    """Read the intervals of the tier named `words`, or of the first tier; long or short form."""
    # Both forms hold the same values in the same order; the long one has names around them.
    tokens = re.findall(rf"{_QUOTED}|(?<![\w.\[])({_NUMBER})(?![\w.\]])|(<exists>)", text)
    values = [("text", a) if not b and not c else ("number", b) for a, b, c in tokens if not c]
    texts = [i for i, (kind, value) in enumerate(values) if value in ("IntervalTier", "TextTier")]
    if not texts:
        raise ValueError("it is not a TextGrid")
    tiers: dict[str, tuple[AlignedWord, ...]] = {}
    for place in texts:
        if values[place][1] != "IntervalTier":
            continue
        name, count = values[place + 1][1], int(float(values[place + 4][1]))
        rows = values[place + 5 : place + 5 + 3 * count]
        tiers[name.lower()] = tuple(
            AlignedWord(text=label.replace('""', '"'), start_s=float(start), end_s=float(end))
            for (_, start), (_, end), (_, label) in zip(
                rows[0::3], rows[1::3], rows[2::3], strict=True
            )
            if label.strip().lower() not in _SILENCE
        )
    for name in ("words", "word", *tiers):
        if name in tiers:
            return tiers[name]
    return ()


def words_of_ctm(text: str) -> dict[str, tuple[AlignedWord, ...]]:
    """Read words by recording: `recording channel start duration word [score ...]` per line."""
    words_by_name: dict[str, list[AlignedWord]] = {}
    for line in lines_of(text):
        parts = line.split()
        if len(parts) < 5 or line.startswith(";;"):
            continue
        name, _, start, duration, word = parts[:5]
        if word.lower() not in _SILENCE:
            end = round(float(start) + float(duration), 6)
            timed = AlignedWord(text=word, start_s=float(start), end_s=end)
            words_by_name.setdefault(name, []).append(timed)
    return {
        name: tuple(sorted(words, key=lambda word: word.start_s))
        for name, words in words_by_name.items()
    }


def words_from_json(value: Any) -> tuple[AlignedWord, ...]:
    """Read word times in any of the usual shapes; () if there are none.

    A list of words, each `[text, start, end]`, `[text, [start, end], ...]` or an object with
    `word` or `text`, `start` and `end` (or `duration`); or an object that holds such a list under
    `words`, `alignments`, `word`, or in each of its `segments`.
    """
    return tuple(word for word in _words(value) if word.text.lower() not in _SILENCE)


def _words(value: Any) -> Iterator[AlignedWord]:
    if isinstance(value, Mapping):
        for name in ("words", "alignments", "alignment", "word"):
            if isinstance(value.get(name), list | tuple | Mapping):
                yield from _words(value[name])
                return
        for segment in value.get("segments") or ():  # those without words are sentences
            yield from _words(segment.get("words"))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _word(item)


def _word(item: Any) -> Iterator[AlignedWord]:
    if isinstance(item, Mapping):
        text = item.get("word", item.get("text", item.get("symbol")))
        start, end = item.get("start"), item.get("end")
        if end is None and start is not None and item.get("duration") is not None:
            end = start + item["duration"]
    else:
        text, start, *rest = item
        if isinstance(start, list | tuple):
            start, end = start
        else:
            end = rest[0]
    if text is not None and start is not None and end is not None:  # aligners omit failures
        yield AlignedWord(text=str(text).strip(), start_s=float(start), end_s=float(end))


class WordTimes:
    """Finds the words of a recording beside its audio, or in the folder or file `alignments`."""

    def __init__(self, alignments: str = "") -> None:
        self._by_name: dict[str, Path] = {}
        self._ctm: dict[str, tuple[AlignedWord, ...]] = {}
        if not alignments:
            return
        path = Path(alignments)
        if not path.exists():
            raise FileNotFoundError(f"alignments={alignments} does not exist")
        files = [path] if path.is_file() else sorted(path.glob("**/*"))
        for file in files:
            if file.suffix.lower() == ".ctm":
                self._ctm.update(words_of_ctm(read_text(file)))
            elif file.suffix.lower() in (".textgrid", ".json"):
                self._by_name[file.stem] = file
        if not self._ctm and not self._by_name:
            raise ValueError(f"alignments={alignments} holds no .ctm, .TextGrid or .json")

    def find(self, name: str, audio: Path | None) -> tuple[AlignedWord, ...]:
        """Return the words of a recording by its id or the name of its file; () if unknown."""
        stem = audio.stem if audio is not None else name
        for candidate in (name, stem, stem.removesuffix("_mic1").removesuffix("_mic2")):
            if candidate in self._ctm:
                return self._ctm[candidate]
            if candidate in self._by_name:
                return words_of_file(self._by_name[candidate], candidate)
        if audio is not None:
            for suffix in (".TextGrid", ".textgrid", ".ctm", ".json"):
                beside = audio.with_suffix(suffix)
                if beside.is_file():
                    return words_of_file(beside, stem)
        return ()


def words_of_file(path: Path, name: str) -> tuple[AlignedWord, ...]:
    """Read the words of one recording from a file; ValueError states the fault of the file."""
    text = read_text(path)
    try:
        if path.suffix.lower() == ".textgrid":
            return words_of_textgrid(text)
        if path.suffix.lower() == ".ctm":
            recordings = words_of_ctm(text)
            only = next(iter(recordings.values())) if len(recordings) == 1 else ()
            return recordings.get(name, only)
        return words_from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"its word times in {path.name} cannot be read ({error})") from error


def spoken(words: tuple[AlignedWord, ...]) -> tuple[AlignedWord, ...]:
    """Normalise words for storage; a word that becomes several is divided evenly among them."""
    normalised = []
    for word in words:
        texts = [text for text in normalise(word.text).split() if text.strip("'")]
        step_s = (word.end_s - word.start_s) / max(len(texts), 1)
        for i, text in enumerate(texts):
            start_s, end_s = word.start_s + i * step_s, word.start_s + i * step_s + step_s
            normalised.append(
                AlignedWord(text=text, start_s=round(start_s, 4), end_s=round(end_s, 4))
            )
    return tuple(normalised)
