"""Requests of one word that other people have recorded: users beside the one of `voices.user`.

They are the people of a split's own side, so that nobody who is a user of a test is trained on. A
request is a recording of that word, or with `voices.cut_requests` a word in a longer recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from string import ascii_lowercase
from typing import overload

from microturn.datagen.config import DatagenConfig, VoicesConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.index.catalogue import Utterances
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.splits import share_of
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.dialogue.sides import on_side

MAX_COPIES = 5040  # of a text in the list of requests: it has many divisors
MIN_WORD_S = 0.12  # a shorter word is not cut out
MAX_WORDS = 12  # of a recording out of which requests are cut


@dataclass(frozen=True, kw_only=True)
class RequestTake:
    """Where somebody says a request: a whole recording, or one word of it."""

    utterance: Utterance
    word: int | None = None


class Strangers:
    """The one-word requests of other people, by text and person.

    In the list `requests` every text is equally frequent, and so is each of its speakers: drawing a
    request draws its speaker too. (With very many speakers, nearly so.)
    """

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        _check_speakers(corpus, config)
        self._takes = _takes(corpus, config)
        copies = min(lcm(*(len(people) for people in self._takes.values())), MAX_COPIES)
        self.requests = tuple(
            (person, text)
            for text, people in sorted(self._takes.items())
            for person in sorted(people)
            for _ in range(max(round(copies / len(people)), 1))
        )
        needed = config.voices.people != "trained" or config.scenarios.another_asks
        if needed and not self.requests:
            raise ValueError(
                f"{corpus.name} has no greeting, letter or word of vocabulary.echoed by other "
                f"people for split={config.split}; give voices.people=trained and "
                "scenarios.another_asks=0, or add a corpus"
            )
        self._texts: dict[str, list[str]] = {}
        for person, text in self.requests:
            self._texts.setdefault(person, []).append(text)
        self.strings = _strings(corpus, config) if config.scenarios.string_share else ()
        answered = set(_answered(config))
        self._all_answered = [text for _, text in self.requests if text in answered]

    @property
    def people(self) -> tuple[str, ...]:
        """Return the speaker of each request."""
        return tuple(person for person, _ in self.requests)

    def texts(self, person: str) -> Sequence[str]:
        """Return what a person may say; anybody else may ask what all of them do."""
        return self._texts.get(person, self._all_answered)

    def takes(self, person: str, text: str) -> Sequence[RequestTake]:
        """Return where a person says a text; nowhere for one who is no stranger."""
        return self._takes.get(text, {}).get(person, ())


class EvenMix(Sequence[str]):
    """Two lists of voices as one, half of which is each: `first * n + second * m`."""

    def __init__(self, first: Sequence[str], second: Sequence[str]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return 2 * len(self._first) * len(self._second)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...

    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        some = self._first if number < len(self) // 2 else self._second
        return some[number % len(some)]


def _answered(config: DatagenConfig) -> tuple[str, ...]:
    vocabulary = config.vocabulary
    return (*vocabulary.letters, *vocabulary.greetings, *vocabulary.echoed)


def _takes(corpus: Corpus, config: DatagenConfig) -> dict[str, dict[str, list[RequestTake]]]:
    """Return the takes of each text by each person who may be a user."""
    voices, said = config.voices, (*_answered(config), *config.vocabulary.unanswered)
    texts = {canonical(text): text for text in said}
    others = _others(corpus, config)
    alone = others.is_one_of("canonical", texts)
    found: dict[str, dict[str, list[RequestTake]]] = {}
    for name, recordings in others.where(alone).by_text("canonical").items():
        for utterance in recordings:
            people = found.setdefault(texts[name], {})
            people.setdefault(utterance.speaker, []).append(RequestTake(utterance=utterance))
    if voices.cut_requests:
        short = others.where(~alone & (others.n_words() <= MAX_WORDS))
        for text in said:
            for utterance in short.having("word", text):
                takes = found.setdefault(text, {}).setdefault(utterance.speaker, [])
                takes += _cut_from(utterance, text)
    kept = _some_people({p for people in found.values() for p in people}, config)
    chosen = {
        text: {person: takes for person, takes in people.items() if takes and person in kept}
        for text, people in found.items()
    }
    _check_unanswered([text for text, people in chosen.items() if people], corpus, config)
    return {text: people for text, people in chosen.items() if people}


def _others(corpus: Corpus, config: DatagenConfig) -> Utterances:
    """Return what other people of the split's side have recorded in English."""
    voices, spoken = config.voices, corpus.filter(language="en")
    return spoken.where(
        on_side(spoken, config.split, unseen=voices.unseen)
        & ~spoken.is_one_of("speaker", ("", voices.agent, voices.user))
    )


def _strings(corpus: Corpus, config: DatagenConfig) -> tuple[RequestTake, ...]:
    """Return recordings of several letters and numbers, however many people they are of."""
    known = {*ascii_lowercase, *config.vocabulary.numbers, *config.vocabulary.echoed, "oh"}
    others = _others(corpus, config)
    found = tuple(
        RequestTake(utterance=utterance)
        for utterance in others.where((others.n_words() > 1) & (others.n_words() <= MAX_WORDS))
        if known.issuperset(canonical(utterance.text).split())
    )
    if not found:
        raise ValueError(
            f"{corpus.name} has no string of letters or numbers by other people for "
            f"split={config.split}; give scenarios.string_share=0 or add a corpus"
        )
    return found


def _cut_from(utterance: Utterance, text: str) -> list[RequestTake]:
    takes = []
    for number, word in enumerate(utterance.words):
        if word.text == text and word.is_known:
            spoken = utterance.cut(number) or word
            if spoken.end_s - spoken.start_s >= MIN_WORD_S:
                takes.append(RequestTake(utterance=utterance, word=number))
    return takes


def _some_people(people: set[str], config: DatagenConfig) -> set[str]:
    """Return at most `voices.n_people` of the people of a training set: more add to fewer."""
    n = config.voices.n_people
    if config.split != "train" or not n:
        return people
    return set(sorted(people, key=share_of)[:n])


def _check_unanswered(said: Sequence[str], corpus: Corpus, config: DatagenConfig) -> None:
    """Refuse a word that nobody says in training; the few people of a test may lack some."""
    missing = sorted(set(config.vocabulary.unanswered).difference(said))
    if missing and config.split == "train":
        raise ValueError(
            f"{corpus.name} has no {missing[0]!r} of vocabulary.unanswered by other people; leave "
            "it out or add a corpus"
        )


def _check_speakers(corpus: Corpus, config: DatagenConfig) -> None:
    """Refuse a name that nobody has: whoever was meant would be trained on."""
    speakers = set(corpus.catalogue.table("speaker"))
    unknown = set(config.voices.unseen) - speakers - set(VoicesConfig().unseen)
    if unknown:
        people = Conversations.open(config.corpus).people
        for name in sorted(unknown - people):
            raise ValueError(
                f"voices.unseen has {name!r}, who is no speaker of "
                f"corpus={config.corpus or 'default'}; its speakers are "
                f"{', '.join(sorted((speakers | people) - {''})[:8])}, ..."
            )
