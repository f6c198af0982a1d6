"""Unseen people: in no training draw, and users of the set that is made to meet them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from microturn.datagen.config import DatagenConfig, VoicesConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.strangers import Strangers
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.heard import add_dialogue
from microturn.datagen.sets.contents import Contents


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.open()


def bank_of(corpus: Corpus, config: DatagenConfig, **voices: object) -> UnitBank:
    return UnitBank(corpus, replace(config, voices=VoicesConfig(**voices)))  # type: ignore[arg-type]


def test_unseen_people_are_in_no_training_draw(corpus: Corpus, config: DatagenConfig) -> None:
    unseen = ("joe", "ferryman", "skip")
    train = bank_of(corpus, config, unseen=unseen)
    test = bank_of(corpus, replace(config, split="test"), unseen=unseen)

    def speakers(bank: UnitBank) -> set[str]:
        said = (*config.vocabulary.backchannels, *config.vocabulary.stop_phrases, "hello")
        heard = [phrase.utterance for phrase in bank.phrases(said)]
        heard += bank.lines(shortest_s=0.0, longest_s=60.0)
        return {utterance.speaker for utterance in heard}

    assert not speakers(train) & set(unseen)
    assert set(unseen) <= speakers(test)
    assert not speakers(train) & speakers(test)


def test_every_request_of_strangers_is_as_likely(corpus: Corpus, config: DatagenConfig) -> None:
    test = replace(config, split="test", only=("one_word",))
    bank = bank_of(corpus, test, people="unseen")
    texts = Counter(text for _, text in bank.strangers.requests)
    assert set(texts) == {"h", "a", "r", "o", "z", "hello", "goodbye"}
    assert len(set(texts.values())) == 1
    assert set(bank.user_voices) == {"ferryman", "skip", "man", "wedgewood"}
    for person, text in bank.strangers.requests:
        takes = bank.strangers.takes(person, text)
        assert takes
        assert {take.utterance.speaker for take in takes} == {person}


def test_the_user_of_a_dialogue_is_one_stranger(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    voices = VoicesConfig(people="unseen")
    test = replace(config, split="test", only=("one_word",), voices=voices)
    simulator, contents = simulator_for(test), Contents()
    for index in range(4):
        labels = simulator.labels(simulator.dialogue(index))
        users = {item.speaker for item in labels.items if item.lane == "user"}
        assert users == {labels.voice}
        assert labels.voice in voices.unseen
        assert labels.events
        add_dialogue(contents, labels, simulator.bank.corpus)
    assert set(contents.speakers) <= set(voices.unseen)


@pytest.mark.parametrize(
    ("voices", "message"),
    [
        ({"people": "unseen"}, "needs split=test"),
        ({"people": "nobody"}, "is not one of trained, unseen, both"),
        ({"unseen": ("asterisk-en",)}, "is trained on"),
    ],
)
def test_a_contradiction_is_refused(
    config: DatagenConfig, voices: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, voices=VoicesConfig(**voices))  # type: ignore[arg-type]


def test_strangers_have_no_other_scenarios(config: DatagenConfig) -> None:
    with pytest.raises(ValueError, match=r"needs only=\[one_word\]"):
        replace(config, split="test", voices=VoicesConfig(people="both"))


def test_a_name_that_nobody_has_is_refused(corpus: Corpus, config: DatagenConfig) -> None:
    with pytest.raises(ValueError, match="voices.unseen has 'jo', who is no speaker of"):
        bank_of(corpus, config, unseen=("jo",))


def test_somebody_else_can_ask_only_where_there_is_somebody(
    corpus: Corpus, config: DatagenConfig
) -> None:
    everybody = set(corpus.catalogue.table("speaker")) - {"", "asterisk-en"}
    alone = replace(config, voices=VoicesConfig(unseen=tuple(sorted(everybody))))
    assert not Strangers(corpus, alone).requests
    another = replace(alone, scenarios=replace(config.scenarios, another_asks=0.5))
    with pytest.raises(ValueError, match="and scenarios.another_asks=0, or add a corpus"):
        Strangers(corpus, another)
