"""Reads word times from files: TextGrid, CTM, and the JSON of common aligners."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from microturn.configs.reading import lines_of
from microturn.datagen.corpora.recordings import read_text
from microturn.datagen.corpora.utterance import AlignedWord

_SILENCE = frozenset(["", "sil", "sp", "spn", "<eps>", "<sil>", "[noise]", "<p>", "<s>"])
_SUFFIXES = (".TextGrid", ".textgrid", ".TEXTGRID", ".ctm", ".CTM", ".json", ".JSON")
_SOUNDS = ("phones", "phone")  # tiers of an aligner that hold no words
_QUOTED = r'"((?:[^"]|"")*)"'
_OWN_TIER = re.compile(r"(.+?)\s*-\s*words?", re.IGNORECASE)  # of one speaker, by MFA
# Numbers of channels by their letters and names.
_LETTERS = {**{chr(ord("A") + i): i for i in range(8)}, "L": 0, "R": 1, "LEFT": 0, "RIGHT": 1}
_NUMBER = r"-?[\d.]+(?:[eE]-?\d+)?"


def words_of_textgrid(text: str, *, speaker: str = "") -> tuple[AlignedWord, ...]:
    """Read the intervals of the tier of words, or of the first tier; long or short form.

    Of several speakers' tiers (`NAME - words`) it is that of this speaker.
    """
    tiers = tiers_of_textgrid(text)
    return tiers[_words_tier(list(tiers), speaker)] if tiers else ()


def tiers_of_textgrid(text: str) -> dict[str, tuple[AlignedWord, ...]]:
    """Read the intervals of every tier by its name, without silences; long or short form."""
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
        if name in tiers:
            raise ValueError(f"it has two tiers named {name!r}")
        tiers[name] = tuple(
            AlignedWord(text=label.replace('""', '"'), start_s=float(start), end_s=float(end))
            for (_, start), (_, end), (_, label) in zip(
                rows[0::3], rows[1::3], rows[2::3], strict=True
            )
            if label.strip().lower() not in _SILENCE
        )
    return tiers


def tiers_by_speaker(text: str) -> dict[str, tuple[AlignedWord, ...]]:
    """Read a TextGrid with a tier for each speaker: those named `NAME - words`, or all tiers."""
    tiers = {name: tier for name, tier in tiers_of_textgrid(text).items() if name not in _SOUNDS}
    owners = {name: match[1] for name in tiers if (match := _OWN_TIER.fullmatch(name.strip()))}
    return {owner: tiers[name] for name, owner in owners.items()} or tiers


def _words_tier(names: list[str], speaker: str) -> str:
    """Return the name of the tier of words: `words`, or of several `NAME - words` the speaker's."""
    whole = [name for name in names if name.strip().lower() in ("words", "word")]
    if whole:
        return whole[0]
    owners = {name: match[1] for name in names if (match := _OWN_TIER.fullmatch(name.strip()))}
    own = [name for name, owner in owners.items() if owner.lower() == speaker.lower()]
    if len(owners) > 1 and len(own) != 1:
        raise ValueError(f"it has the words of {', '.join(owners.values())}, not of {speaker!r}")
    return next(iter(own or owners or names))


class Ctm:
    """Words by recording and channel: `recording channel start duration word [score ...]`."""

    def __init__(self, text: str, place: str) -> None:
        rows: list[tuple[str, str, AlignedWord]] = []
        for number, line in enumerate(lines_of(text), start=1):
            parts = line.split()
            if len(parts) < 5 or line.startswith(";;"):
                continue
            try:
                start_s, duration_s = float(parts[2]), float(parts[3])
            except ValueError as error:
                raise ValueError(f"{place}, line {number}: its times are no numbers") from error
            if parts[4].lower() not in _SILENCE:
                end_s = round(start_s + duration_s, 6)
                word = AlignedWord(text=parts[4], start_s=start_s, end_s=end_s)
                rows.append((parts[0], parts[1], word))
        numbers = channel_numbers({label for _, label, _ in rows})
        words: dict[str, dict[int, list[AlignedWord]]] = {}
        for name, label, word in rows:
            words.setdefault(name, {}).setdefault(numbers[label], []).append(word)
        self._words = {
            name: {
                channel: tuple(sorted(some, key=lambda word: word.start_s))
                for channel, some in channels.items()
            }
            for name, channels in words.items()
        }

    def names(self) -> list[str]:
        return list(self._words)

    def channels(self, name: str) -> dict[int, tuple[AlignedWord, ...]]:
        """Return the words of a recording by channel, from 0."""
        return self._words.get(name, {})

    def find(self, name: str, channel: int | None, *, own: bool = False) -> tuple[AlignedWord, ...]:
        """Return the words of a recording, or of one channel of its file; () if there are none.

        `own` says that the CTM names the recording itself: a single channel is then its own,
        whatever its number. ValueError when there are several and nobody says which.
        """
        channels = self._words.get(name, {})
        if len(channels) == 1 and (own or channel is None):
            return next(iter(channels.values()))
        if len(channels) > 1 and channel is None:
            letters = " and ".join(chr(ord("A") + number) for number in sorted(channels))
            raise ValueError(f"it has the channels {letters} of {name}, and its own is not known")
        return channels.get(channel or 0, ())


def channel_numbers(labels: Collection[str]) -> dict[str, int]:
    """Number the labels of channels from 0: A and B, left and right, 1 and 2; 0 and 1 if one is 0.

    A single label may be anything; ValueError if one of several says no number.
    """
    first = 0 if "0" in labels else 1
    numbers: dict[str, int] = {}
    for label in labels:
        number = int(label) - first if label.isdecimal() else _LETTERS.get(label.upper())
        if number is None and len(labels) > 1:
            raise ValueError(f"the channel {label!r} is none of A, B, left, right or a number")
        numbers[label] = max(0, number or 0)
    return numbers


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


def words_of_file(
    path: Path, name: str, *, speaker: str = "", channel: int | None = None
) -> tuple[AlignedWord, ...]:
    """Read the words of one recording from a file; ValueError states the fault of the file."""
    text = read_text(path)
    try:
        if path.suffix.lower() == ".textgrid":
            return words_of_textgrid(text, speaker=speaker)
        if path.suffix.lower() == ".ctm":
            ctm = Ctm(text, path.name)
            names = ctm.names()
            return ctm.find(names[0] if len(names) == 1 else name, channel, own=True)
        return words_from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"its word times in {path.name} cannot be read ({error})") from error


def words_beside(
    audio: Path, *, speaker: str = "", channel: int | None = None
) -> tuple[AlignedWord, ...]:
    """Read the words of an audio file from a file of its name beside it; () if there is none."""
    for suffix in _SUFFIXES:
        beside = audio.with_suffix(suffix)
        if beside.is_file():
            return words_of_file(beside, audio.stem, speaker=speaker, channel=channel)
    return ()
