"""Recorded people of an added corpus as users: who they are, what they ask, and on which side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.datagen.config import DatagenConfig, TransformConfig, VocabularyConfig, VoicesConfig
from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.home import open_corpora
from microturn.datagen.corpora.index.phrases import Phrase
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.strangers import EvenMix
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.voice_names import speaker_of, transform_of, variant_of
from microturn.datagen.pipeline import Simulator

RATE = 16_000
PEOPLE = {"ann": "train", "ben": "train", "cleo": "train", "dan": "train", "eve": "test"}
ECHOED = ("two", "seven", "nine")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each person says "seven" alone and "two nine" in one go, with given times of the words."""
    folder, shipped = tmp_path_factory.mktemp("people"), Corpus.open()

    def said(text: str, number: int) -> np.ndarray:
        prompts = shipped.filter(speaker="asterisk-en")
        one = next(u for u in prompts if u.text.lower() == text)
        return shipped.trimmed(one)[number * 40 :] * np.float32(1 - number / 20)

    rows = []
    for number, (person, split) in enumerate(PEOPLE.items()):
        two, nine, seven = (said(text, number) for text in ("two", "nine", "seven"))
        edges = [0.0, len(two) / RATE, (len(two) + len(nine)) / RATE]
        for name, audio, words in (
            ("seven", seven, [["seven", 0.0, len(seven) / RATE]]),
            ("two nine", np.concatenate([two, nine]), [["two", *edges[:2]], ["nine", *edges[1:]]]),
        ):
            file = f"{person}-{name.replace(' ', '-')}.wav"
            soundfile.write(folder / file, audio, RATE)
            rows.append(
                {"file": file, "speaker": person, "text": name, "split": split, "words": words}
            )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path_factory.mktemp("corpora") / "friends"
    add_corpus(
        CorpusAddConfig(source=str(folder), out=str(out), name="friends", licence="own", workers=1)
    )
    return out


@pytest.fixture(scope="module")
def asking(config: DatagenConfig, people: Path) -> DatagenConfig:
    return replace(
        config,
        corpus=f"default,{people}",
        only=("one_word",),
        vocabulary=replace(VocabularyConfig(), echoed=ECHOED),
        voices=VoicesConfig(people="both", cut_requests=True),
    )


@cache
def opened(names: str) -> Corpus:
    return open_corpora(names, sample_rate=RATE)


def bank_of(config: DatagenConfig, **voices: object) -> UnitBank:
    config = replace(config, voices=replace(config.voices, **voices))
    return UnitBank(opened(config.corpus), config)


def friends(bank: UnitBank) -> set[str]:
    return {name.removeprefix("friends-") for name in bank.user_voices if "friends-" in name}


def test_users_of_a_training_set_are_people_of_its_side(asking: DatagenConfig) -> None:
    train, test = bank_of(asking), bank_of(replace(asking, split="test"))
    assert friends(train) == {"ann", "ben", "cleo", "dan"}
    assert friends(test) == {"eve"}
    assert "joe" in set(train.user_voices)  # of the corpus that ships
    assert not {*train.strangers.people} & {*test.strangers.people}
    voices = [speaker_of(voice) for voice in train.user_voices]
    assert voices.count("asterisk-en") == len(voices) / 2


def test_people_can_be_kept_out_by_name(asking: DatagenConfig) -> None:
    unseen = (*VoicesConfig().unseen, "friends-ben")
    assert "ben" not in friends(bank_of(asking, unseen=unseen))
    assert "ben" in friends(bank_of(replace(asking, split="test"), unseen=unseen))


def test_fewer_people_are_some_of_more(asking: DatagenConfig) -> None:
    some = [{*bank_of(asking, n_people=n).strangers.people} for n in (1, 3, 0)]
    assert [len(some[0]), len(some[1])] == [1, 3]
    assert some[0] < some[1] < some[2]
    test = replace(asking, split="test")
    assert friends(bank_of(test, n_people=1)) == {"eve"}


def test_a_request_is_cut_out_of_a_longer_recording(asking: DatagenConfig) -> None:
    bank = bank_of(asking)
    (whole,) = bank.strangers.takes("friends-ann", "seven")
    (cut,) = bank.strangers.takes("friends-ann", "nine")
    assert (whole.word, cut.word) == (None, 1)
    units = [bank.request(take, text, "@1.1") for take, text in ((whole, "seven"), (cut, "nine"))]
    assert [unit.text for unit in units] == ["seven", "nine"]
    assert {unit.voice for unit in units} == {"friends-ann@1.1"}
    alone = bank.user("nine", "asterisk-en@1.1")
    assert units[1].n_samples == pytest.approx(alone.n_samples, rel=0.25)
    assert not bank_of(asking, cut_requests=False).strangers.takes("friends-ann", "nine")


def test_a_phrase_is_cut_from_either_end_of_a_longer_recording(asking: DatagenConfig) -> None:
    def said(bank: UnitBank, *texts: str, longest_s: float = 9.0) -> dict[str, Phrase]:
        found = bank.phrases(texts, longest_s=longest_s).by_speaker()
        return {phrase.text: phrase for phrase in found.get("friends-ann", ())}

    bank = bank_of(asking, cut_phrases=True)
    phrases = said(bank, "two", "nine", "seven")
    assert {text: phrase.spoken for text, phrase in phrases.items()} == {
        "seven": None,  # recorded alone
        "two": (0, 0),
        "nine": (1, 1),
    }
    units = {text: bank.phrase(phrase, "@1.1") for text, phrase in phrases.items()}
    for text, unit in units.items():
        assert [word.text for word in unit.words] == [text]
        assert (unit.words[0].start_sample, unit.words[-1].end_sample) == (0, unit.n_samples)
        alone = bank.user(text, "asterisk-en@1.1")
        assert unit.n_samples == pytest.approx(alone.n_samples, rel=0.25)
    # All of a recording is no part of it, and what is too long is left out.
    assert said(bank, "two nine")["two nine"].spoken is None
    assert not said(bank, "two", "nine", longest_s=0.2)
    seconds = bank.phrases(("two", "seven")).seconds
    assert all(0.1 < length_s < 1.5 for length_s in seconds)
    # Recordings are taken as they are where nothing else is asked for.
    assert set(said(bank_of(asking), "two", "seven")) == {"seven"}
    test = bank_of(replace(asking, split="test"), cut_phrases=True)
    assert test.phrases(("two",)).by_speaker().keys() & {"friends-eve"}


def test_silence_around_a_phrase_does_not_make_it_long(asking: DatagenConfig) -> None:
    """Clips of a fixed length, as of Speech Commands, are no longer than what is said in them."""

    def ids(bank: UnitBank, longest_s: float) -> set[str]:
        return {phrase.utterance.id for phrase in bank.phrases(texts, longest_s=longest_s)}

    texts, bank = asking.vocabulary.backchannels, bank_of(asking)
    clips = [phrase.utterance for phrase in bank.phrases(texts)]
    clip = max(clips, key=lambda u: u.duration_s - (u.end_s - u.start_s))
    between_s = (clip.end_s - clip.start_s + clip.duration_s) / 2
    assert clip.id not in ids(bank, between_s)
    assert clip.id in ids(bank_of(asking, cut_phrases=True), between_s)


def test_words_of_a_phrase_in_a_longer_recording_keep_their_times(asking: DatagenConfig) -> None:
    bank = bank_of(asking, cut_phrases=True)
    line = next(
        u
        for u in bank.corpus.utterances
        if u.speaker == "joe" and len(u.words) > 3 and all(word.is_known for word in u.words[:3])
    )
    for variant in ("", "@1.1"):
        phrase = Phrase(utterance=line, text=" ".join(w.text for w in line.words[:2]), place=0)
        unit = bank.phrase(phrase, variant)
        first, second = unit.words
        rate = RATE / (1.1 if variant else 1.0)
        between_s = line.words[1].start_s - line.words[0].start_s
        assert (second.start_sample - first.start_sample) / rate == pytest.approx(
            between_s, abs=0.06
        )
        assert second.end_sample == unit.n_samples


def test_every_text_is_as_likely_whoever_says_it(asking: DatagenConfig) -> None:
    requests = bank_of(asking).strangers.requests
    counts = Counter(text for _, text in requests)
    shares = {text: n / len(requests) for text, n in counts.items()}
    assert set(ECHOED) < set(shares)
    assert max(shares.values()) == pytest.approx(min(shares.values()), rel=0.02)


def test_dialogues_with_other_people(
    asking: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    """A user has one voice, what they ask is echoed, and the share of transformed ones holds."""
    transform = TransformConfig(share=0.5, n_voices=4)
    voices = replace(asking.voices, transform=transform, n_people=6)
    simulator = simulator_for(replace(asking, voices=voices, features=False))
    heard = set()
    for index in range(6):
        recipe = simulator.recipe(index)
        script, _, _ = simulator.script(recipe)
        users = {clip.unit.voice for clip in script.clips if clip.lane == "user"}
        assert users == {recipe.voice}
        heard.add(speaker_of(recipe.voice))
        for event in script.timeline.events:
            if event.expect is not None and event.text in ECHOED:
                assert event.expect.text == event.text
    assert heard - {"asterisk-en"}
    drawn = [simulator.recipe(index).voice for index in range(300)]
    others = [voice for voice in drawn if speaker_of(voice) != "asterisk-en"]
    assert len(others) / 300 == pytest.approx(0.5, abs=0.1)
    share = sum(transform_of(voice) is not None for voice in others) / len(others)
    assert share == pytest.approx(0.5, abs=0.13)


def test_words_that_nobody_answers(
    asking: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    """Other people say them among their requests, and the agent says nothing."""
    vocabulary = replace(asking.vocabulary, echoed=("two", "nine"), unanswered=("seven",))
    unanswered = replace(asking, vocabulary=vocabulary)
    simulator, said = simulator_for(replace(unanswered, features=False)), Counter[str]()
    for index in range(24):
        recipe = simulator.recipe(index)
        timeline = simulator.script(recipe)[0].timeline
        user = speaker_of(recipe.voice)
        requests = [word.text for word in timeline.words("user")]
        said.update((user,) if "seven" in requests else ())
        asked = [e.text for e in timeline.events if e.expect is not None and " " not in e.text]
        assert "seven" not in asked
        assert Counter(asked) <= Counter(requests)
        assert "seven" not in [word.text for word in timeline.words("agent")]
    assert said
    assert "asterisk-en" not in said
    test = replace(unanswered, split="test", vocabulary=replace(vocabulary, unanswered=("six",)))
    assert "six" not in bank_of(test).strangers.texts("friends-eve")


def test_another_person_may_ask_each_time(
    asking: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    """What they say is answered like the words of the user; none is said in that user's name."""

    def clips(share: float) -> list[tuple[str, str]]:
        scenarios = replace(asking.scenarios, another_asks=share)
        simulator = simulator_for(replace(asking, scenarios=scenarios, features=False))
        found = []
        for index in range(12):
            recipe = simulator.recipe(index)
            script = simulator.script(recipe)[0]
            said = [clip.unit for clip in script.clips if clip.lane == "user"]
            turns = [event for event in script.timeline.events if event.type == "turn"]
            assert len(turns) == len(said)  # all are answered
            found += [(speaker_of(recipe.voice), speaker_of(unit.voice)) for unit in said]
        return found

    assert all(user == speaker for user, speaker in clips(0.0))
    mixed = clips(0.5)
    share = sum(user != speaker for user, speaker in mixed) / len(mixed)
    assert 0.25 < share < 0.65  # now and then another one is the user again
    everybody = clips(1.0)
    assert "asterisk-en" not in {speaker for _, speaker in everybody}
    assert len({speaker for _, speaker in everybody}) > 3


def test_strings_are_said_whole_and_nobody_answers(
    asking: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    scenarios = replace(asking.scenarios, string_share=0.5)
    simulator = simulator_for(replace(asking, scenarios=scenarios, features=False))
    strings = simulator.bank.strangers.strings
    assert {take.utterance.speaker for take in strings} == {
        f"friends-{name}" for name, split in PEOPLE.items() if split == "train"
    }
    said = Counter[str]()
    for index in range(8):
        timeline = simulator.script(simulator.recipe(index))[0].timeline
        texts = [word.text for word in timeline.words("user")]
        turns = [event.text for event in timeline.events if event.type == "turn"]
        n_strings = sum(pair == ("two", "nine") for pair in pairwise(texts))
        said.update(strings=n_strings, words=len(texts) - 2 * n_strings)
        assert "two nine" not in turns
        assert len(turns) <= len(texts) - 2 * n_strings
    assert 0.3 < said["strings"] / said.total() < 0.7
    nobody = replace(asking, corpus="default", scenarios=scenarios)
    with pytest.raises(ValueError, match="has no string of letters or numbers by other people"):
        bank_of(nobody)


def test_an_unanswered_word_is_said_by_somebody_and_answered_nowhere(
    asking: DatagenConfig,
) -> None:
    missing = replace(asking, vocabulary=replace(asking.vocabulary, unanswered=("xyzzy",)))
    with pytest.raises(ValueError, match="has no 'xyzzy' of vocabulary.unanswered by other people"):
        bank_of(missing)
    with pytest.raises(ValueError, match="vocabulary.unanswered has 'two', which is answered"):
        replace(asking.vocabulary, unanswered=("two",))


def test_people_of_a_test_are_as_they_are(
    asking: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    voices = replace(asking.voices, people="unseen", transform=TransformConfig(share=1.0))
    simulator = simulator_for(replace(asking, split="test", voices=voices))
    assert all(variant_of(simulator.recipe(index).voice) == "" for index in range(50))


def test_an_even_mix_is_the_lists_one_after_the_other() -> None:
    first, second = ("a", "b"), ("x", "y", "z")
    mix = EvenMix(first, second)
    assert list(mix) == [*first * 3, *second * 2]
    assert mix[2:4] == ["a", "b"]
    with pytest.raises(IndexError):
        mix[12]


def test_a_negative_number_of_people_is_refused() -> None:
    with pytest.raises(ValueError, match="voices.n_people=-1 must not be negative"):
        VoicesConfig(n_people=-1)
