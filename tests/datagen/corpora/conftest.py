"""Recordings that ship, for corpora that tests make of them."""

import pytest

from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance


@pytest.fixture(scope="session")
def shipped() -> Corpus:
    return Corpus.open()


@pytest.fixture(scope="session")
def line(shipped: Corpus) -> Utterance:
    """A prompt of about ten words."""
    return next(u for u in shipped.filter(speaker="asterisk-en") if len(u.words) == 10)
