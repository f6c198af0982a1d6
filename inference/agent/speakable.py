"""Results made speakable: numbers in words, as long as the voice can take, the rest for a card."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from microturn.inference.agent.cards import clean
from microturn.inference.agent.numbers import LIMIT, number_words
from microturn.model.streams import normalise

# Said in place of what only a card can hold; the first one whose words the voice knows.
POINTERS: Final = ("it is on your screen", "it's on the screen", "on the screen", "screen")
_MAX_LENGTH: Final = 4_000  # characters that are looked at
_NUMBER: Final = re.compile(
    r"(?<![\w.,:-])(-?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(%|°)?(?![\w:-]|[.,]\d)"
)
_TIME: Final = re.compile(r"(?<![\w:])(\d{1,2}):(\d{2})(?![\w:])")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What is said of a result; without `is_all` the whole belongs on a card."""

    line: str  # normalised words; empty: the voice can say nothing of it
    is_all: bool


@dataclass(frozen=True, kw_only=True)
class Speakable:
    """What the voice of a checkpoint can say."""

    count_tokens: Callable[[str], int]  # of words as they stand on `text_in`
    can_spell: Callable[[str], bool]  # whether `text_in` has the letters of all words
    words: frozenset[str] | None = None  # None: any word

    def can_say(self, line: str) -> bool:
        knows = self.words is None or self.words.issuperset(line.split())
        return knows and self.can_spell(line)

    def speak(self, text: str, *, budget: int) -> Spoken:
        """Return as many leading sentences as fit into `budget` tokens, or a pointer to a card."""
        line = ""
        sentences = list(spoken_sentences(text))
        for number, sentence in enumerate(sentences):
            longer = f"{line} {sentence}".strip()
            if not self.can_say(sentence) or self.count_tokens(longer) > budget:
                break
            line = longer
            if number + 1 == len(sentences):
                return Spoken(line=line, is_all=len(text) <= _MAX_LENGTH)
        if line and self.words is None:
            return Spoken(line=line, is_all=False)
        return Spoken(line=self.pointer(budget=budget), is_all=False)

    def pointer(self, *, budget: int) -> str:
        """Return the line that points to a card, or nothing when the voice has no word for it."""
        for line in POINTERS:
            if self.can_say(line) and self.count_tokens(line) <= budget:
                return line
        return ""


def spoken_sentences(text: str) -> Iterator[str]:
    """Sentences of a text as normalised words, with numbers, times and signs in words."""
    for sentence in _SENTENCE.split(clean(text, _MAX_LENGTH, lines=True)):
        words = normalise(spell(sentence))
        if words:
            yield words


def spell(text: str) -> str:
    """Write the numbers of a text in English words: "17:05, 3.5 and 25%"."""
    text = _TIME.sub(_spell_time, text)
    return _NUMBER.sub(_spell_number, text)


def _spell_time(found: re.Match[str]) -> str:
    hour, minute = int(found[1]), int(found[2])
    if hour > 24 or minute > 59:
        return found[0]
    if minute == 0:
        return f"{number_words(hour)} o'clock"
    return f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}"


def _spell_number(found: re.Match[str]) -> str:
    sign, whole, decimals, unit = found.groups()
    value = int(whole.replace(",", ""))
    if value >= LIMIT:
        return found[0]
    words = number_words(value)
    if decimals:
        words += " point " + " ".join(number_words(int(digit)) for digit in decimals[1:])
    named = {"%": " percent", "°": " degrees", None: ""}[unit]
    return f"{'minus ' if sign else ''}{words}{named}"
