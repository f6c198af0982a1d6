"""Spoken numbers, both ways: words to integers, values to words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_UNITS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES: Final = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SMALL: Final = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 20 + 10 * index for index, word in enumerate(_TENS)},
    "oh": 0,
}
LIMIT: Final = 10**12  # values at or above this have no words here
_DECIMALS: Final = 3


def read_number(words: Sequence[str], start: int) -> tuple[int, int] | None:
    """Read the longest number that begins at `words[start]` as (value, index after it)."""
    total, group, index, last = 0, 0, start, None
    while index < len(words):
        word = words[index]
        if word.isascii() and word.isdigit() and last is None:
            return (int(word), index + 1) if len(word) <= 12 else None
        if word in _SMALL and _may_follow(last, _SMALL[word]):
            group, last = group + _SMALL[word], _SMALL[word]
        elif word == "hundred" and last is not None and 0 < group < 10:
            group, last = group * 100, 100
        elif word in _SCALES and last is not None and 0 < group < 1000:
            total, group, last = total + group * _SCALES[word], 0, _SCALES[word]
        elif word == "and" and last is not None and last >= 100 and _is_small(words, index + 1):
            pass
        else:
            break
        index += 1
    return (total + group, index) if last is not None else None


def _is_small(words: Sequence[str], index: int) -> bool:
    return index < len(words) and words[index] in _SMALL


def _may_follow(last: int | None, value: int) -> bool:
    """Tell whether `value` continues a number: twenty-one and hundred-five do, two-three not."""
    if last is None or (last >= 100 and value > 0):
        return True
    return 20 <= last < 100 and 0 < value < 10


def number_words(value: float) -> str:
    """Spell a value in words, with up to three decimals digit by digit."""
    if abs(value) >= LIMIT:
        raise ValueError(f"{value:g} is too large to say")
    text = f"{abs(value):.{_DECIMALS}f}"
    whole, decimals = text.split(".")
    decimals = decimals.rstrip("0")
    words = _whole_words(int(whole))
    if decimals:
        words += ["point", *(_UNITS[int(digit)] for digit in decimals)]
    minus = ["minus"] if value < 0 and words != ["zero"] else []
    return " ".join(minus + words)


def _whole_words(value: int) -> list[str]:
    if value == 0:
        return [_UNITS[0]]
    words: list[str] = []
    for name, size in sorted(_SCALES.items(), key=lambda scale: -scale[1]):
        if value >= size:
            words += [*_below_thousand(value // size), name]
            value %= size
    return words + _below_thousand(value)


def _below_thousand(value: int) -> list[str]:
    words: list[str] = []
    if value >= 100:
        words += [_UNITS[value // 100], "hundred"]
        value %= 100
    if value >= 20:
        words.append(_TENS[value // 10 - 2])
        value %= 10
    return words + ([_UNITS[value]] if value else [])


_ORDINALS: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def ordinal_words(value: int) -> str:
    """Spell the place in an order: 21 is "twenty first"."""
    *before, last = number_words(value).split()
    if last not in _ORDINALS:
        ending = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    else:
        ending = _ORDINALS[last]
    return " ".join([*before, ending])
