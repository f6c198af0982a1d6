"""Kinds of recordings, told by their words alone."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Final

DIGITS: Final = frozenset(
    ("zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
)
LETTERS: Final = frozenset(ascii_lowercase)
COMMANDS: Final = frozenset(
    (
        *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
        *("start", "help", "repeat", "open", "close"),
    )
)
LISTED: Final = DIGITS | LETTERS | COMMANDS  # the words of the kinds that have a list of words
_NUMBERS: Final = DIGITS | frozenset(
    (
        *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
        *("eighteen", "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy"),
        *("eighty", "ninety", "hundred", "thousand"),
    )
)
_SINGLE: Final = {"digits": DIGITS, "commands": COMMANDS}
_MIN_SENTENCE: Final = 3  # words

KINDS: Final = {
    "digits": "one digit, recorded alone",
    "commands": "one of fifteen commands, recorded alone",
    "digit_strings": "digits, two or more in a recording",
    "spelled_letters": "letters, two or more in a recording",
    "open_speech": "three words or more, fewer than half of them numbers or letters",
}
WITH_LIST: Final = ("digits", "commands", "digit_strings", "spelled_letters")


def kind_of(words: Sequence[str]) -> str | None:
    """Return the kind of a recording with these words; None for one of no kind."""
    if len(words) < 2:
        if set(words) <= {"oh"}:  # alone it is an exclamation
            return None
        return next((k for k, one in _SINGLE.items() if one.issuperset(words)), None)
    if all(word in DIGITS for word in words):
        return "digit_strings"
    if all(word in LETTERS for word in words):
        return "spelled_letters"
    n_closed = sum(word in _NUMBERS or word in LETTERS - {"a", "i"} for word in words)
    is_sentence = len(words) >= _MIN_SENTENCE and 2 * n_closed < len(words)
    return "open_speech" if is_sentence else None
