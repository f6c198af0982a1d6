"""Questions with right answers, drawn so that no constant answer is right often."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from microturn.datagen.config import VocabularyConfig

COUNT_ORDER = 2  # a count says at least this many words
AT_ONCE = ("number", "letter", "day", "greeting")  # kinds of questions that are answered at once
KINDS = (*AT_ONCE, "count", "cue", "task")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the user says and what the agent has to say; words are those of the recordings."""

    kind: str
    words: tuple[str, ...]
    answer: tuple[str, ...]
    seconds: int = 0  # of a timed cue

    @property
    def text(self) -> str:
        return " ".join(self.words)


class Questions:
    """Draws questions of each kind from a vocabulary."""

    def __init__(self, vocabulary: VocabularyConfig) -> None:
        self.vocabulary = vocabulary
        self._turns: dict[str, Callable[[np.random.Generator], Question]] = {
            "number": self.number,
            "letter": self.letter,
            "day": self.day,
            "greeting": self.greeting,
        }
        sizes = {
            "number": len(vocabulary.numbers),
            "letter": len(vocabulary.letters),
            "day": 2 * len(vocabulary.days),
            "greeting": len(vocabulary.greetings),
        }
        self._kinds = [kind for kind, size in sizes.items() if size]
        total = sum(sizes.values())
        if not total:
            raise ValueError("vocabulary has no questions; give vocabulary.numbers or others")
        # Every question of every kind is equally likely, so no answer stands out.
        self._weights = [sizes[kind] / total for kind in self._kinds]

    def turn(self, rng: np.random.Generator) -> Question:
        """Any question that is answered at once."""
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._weights))]
        return self._turns[kind](rng)

    def long_turn(self, rng: np.random.Generator) -> Question:
        """A question of two words: long enough to stop the agent before it answers."""
        both = [kind for kind in ("number", "day") if kind in self._kinds]
        if not both:
            raise ValueError(
                "vocabulary.numbers and vocabulary.days are both empty; interruptions need one"
            )
        return self._turns[both[int(rng.integers(len(both)))]](rng)

    def number(self, rng: np.random.Generator) -> Question:
        word = _one(self.vocabulary.numbers, rng)
        return Question(kind="number", words=("number", word), answer=(word,))

    def letter(self, rng: np.random.Generator) -> Question:
        return self.one_word(_one(tuple(self.vocabulary.letters), rng))

    def day(self, rng: np.random.Generator) -> Question:
        days = self.vocabulary.days
        index = int(rng.integers(len(days)))
        step, word = ((1, "tomorrow"), (-1, "yesterday"))[int(rng.integers(2))]
        answer = days[(index + step) % len(days)]
        return Question(kind="day", words=(days[index], word), answer=(answer,))

    def greeting(self, rng: np.random.Generator) -> Question:
        return self.one_word(_one(self.vocabulary.greetings, rng))

    def one_word(self, text: str) -> Question:
        """The question that a letter, a greeting or an echoed word is by itself."""
        if text in self.vocabulary.letters:
            answer = self.vocabulary.letters[text]
            return Question(kind="letter", words=(text,), answer=(answer,))
        return Question(kind="greeting", words=(text,), answer=(text,))

    def count(self, rng: np.random.Generator, *, shortest: int = COUNT_ORDER) -> Question:
        """The agent counts from a number to the last one; at least `shortest` words."""
        numbers = self.vocabulary.numbers
        if len(numbers) < shortest:
            raise ValueError(
                f"vocabulary.numbers has {len(numbers)} words; counting needs {shortest}"
            )
        first = int(rng.integers(len(numbers) - shortest + 1))
        return Question(kind="count", words=("from", numbers[first]), answer=numbers[first:])

    def cue(self, rng: np.random.Generator) -> Question:
        low, high = self.vocabulary.cue_delay_s
        seconds = int(rng.integers(low, high + 1))
        word = _one(self.vocabulary.cue_words, rng)
        number = self.vocabulary.numbers[seconds - 1]
        words = (number, "seconds", word)
        return Question(kind="cue", words=words, answer=(word,), seconds=seconds)

    def task(self, rng: np.random.Generator) -> Question:
        """Something the background agent has to work out: a sum or the time of day."""
        if self.vocabulary.hours and rng.random() < TIME_SHARE:
            answer = (_one(self.vocabulary.hours, rng), "o'clock")
            return Question(kind="time", words=("time",), answer=answer)
        return self._sum(rng)

    def _sum(self, rng: np.random.Generator) -> Question:
        """Draw the result first: every result is equally likely."""
        results, numbers = self.vocabulary.results, self.vocabulary.numbers
        value = int(rng.integers(len(results)))
        sums = [
            (a, value - a) for a in range(1, len(numbers) + 1) if 1 <= value - a <= len(numbers)
        ]
        differences = [(a, a - value) for a in range(1, len(numbers) + 1) if a - value >= 1]
        options = [(a, "plus", b) for a, b in sums] + [(a, "minus", b) for a, b in differences]
        if not options:  # no single sum gives zero or this much from the numbers there are
            return self._sum(rng)
        first, sign, second = options[int(rng.integers(len(options)))]
        words = (numbers[first - 1], sign, numbers[second - 1])
        return Question(kind="sum", words=words, answer=(results[value],))

    def agent_words(self, kinds: Iterable[str] = KINDS) -> list[str]:
        """Every word or prompt the agent may have to say to questions of these kinds."""
        v = self.vocabulary
        words = {
            **dict.fromkeys(("number", "count"), v.numbers),
            "letter": v.letters.values(),
            "day": v.days,
            "greeting": v.greetings,
            "cue": v.cue_words,
            "task": (*v.results, *v.hours, *(["o'clock"] if v.hours else []), v.acknowledgement),
        }
        return list(dict.fromkeys(word for kind in kinds for word in words[kind]))

    def user_words(self, kinds: Iterable[str] = KINDS) -> list[str]:
        """Every word a user may say in a perturbed voice to ask questions of these kinds."""
        v = self.vocabulary
        words: dict[str, Iterable[str]] = {
            "number": (*v.numbers, *(["number"] if v.numbers else [])),
            "letter": v.letters,
            "day": (*v.days, *(["tomorrow", "yesterday"] if v.days else [])),
            "greeting": v.greetings,
            "count": (*v.numbers, "from"),
            "cue": (*v.numbers, *v.cue_words, "seconds"),
            "task": (*v.numbers, "plus", "minus", *(["time"] if v.hours else [])),
        }
        return list(dict.fromkeys(word for kind in kinds for word in words[kind]))


TIME_SHARE = 0.3  # of the background agent's tasks


def _one(items: tuple[str, ...], rng: np.random.Generator) -> str:
    return items[int(rng.integers(len(items)))]
