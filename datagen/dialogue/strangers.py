"""Requests that people who are in no training set have recorded whole, as single words."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

from microturn.datagen.config import DatagenConfig, VoicesConfig
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance

Takes = Sequence[Utterance]


class Strangers:
    """The one-word requests of `voices.unseen`, by text and person.

    In the list `requests` every text is equally frequent, and so is each of its speakers: drawing a
    request draws its speaker too.
    """

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        _check_speakers(corpus, config.voices.unseen)
        vocabulary = config.vocabulary
        texts = {canonical(text): text for text in (*vocabulary.letters, *vocabulary.greetings)}
        spoken = corpus.filter(language="en")
        asked = spoken.where(
            spoken.is_one_of("canonical", texts) & spoken.is_one_of("speaker", config.voices.unseen)
        )
        self._takes: dict[str, dict[str, Takes]] = {
            texts[said]: dict(takes.by_text("speaker"))
            for said, takes in asked.by_text("canonical").items()
        }
        copies = lcm(*(len(people) for people in self._takes.values()))
        self.requests = tuple(
            (person, text)
            for text, people in sorted(self._takes.items())
            for person in sorted(people)
            for _ in range(copies // len(people))
        )
        if not self.requests and config.voices.people != "trained":
            raise ValueError(
                f"{corpus.folder} has no greeting or letter by one of voices.unseen="
                f"{list(config.voices.unseen)}; give voices.people=trained or add a corpus"
            )

    def texts(self, voice: str) -> tuple[str, ...]:
        """Return what a person may ask; anybody else may ask what all of them do."""
        own = tuple(text for person, text in self.requests if person == voice)
        return own or tuple(text for _, text in self.requests)

    def takes(self, voice: str, text: str) -> Takes:
        """Return the recordings of a text by a person; none for a voice that is no stranger's."""
        return self._takes.get(text, {}).get(voice, ())


def _check_speakers(corpus: Corpus, unseen: Sequence[str]) -> None:
    """Refuse a name that nobody has: whoever was meant would be trained on."""
    speakers = set(corpus.catalogue.table("speaker"))
    for name in sorted(set(unseen) - speakers - set(VoicesConfig().unseen)):
        raise ValueError(
            f"voices.unseen has {name!r}, who is no speaker of {corpus.folder}; its speakers are "
            f"{', '.join(sorted(speakers - {''})[:8])}, ..."
        )
