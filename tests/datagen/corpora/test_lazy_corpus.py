"""A corpus read by its index gives what reading all of its lines does, and reads few of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.adding.summary import count
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.home import Corpora
from microturn.datagen.corpora.index.catalogue import Catalogue
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME, Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.dialogue.sides import audible
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.dialogue.voice_mixture import VoiceMixture
from microturn.datagen.pipeline import make_tokenizer
from microturn.datagen.report.corpora_use import use_of
from microturn.datagen.report.heard import credit_of, credits_of, identities_of, identity_of
from microturn.model.streams import normalise
from support.shipped_lines import shipped_lines


@pytest.fixture(scope="module")
def eager() -> list[Utterance]:
    """Every line of the shipped manifest as an object."""
    return [Utterance.from_json(json.loads(line)) for line in shipped_lines()]


@pytest.fixture
def n_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many utterances were made of their lines until now."""
    made: list[int] = []
    read = Utterance.from_json

    def counted(line: dict[str, object]) -> Utterance:
        made.append(1)
        return read(line)

    monkeypatch.setattr(Utterance, "from_json", staticmethod(counted))
    return lambda: len(made)


def copy_of(folder: Path, utterances: Iterable[Utterance]) -> Path:
    """A corpus folder of some of the shipped recordings."""
    folder.mkdir()
    lines = [json.dumps(utterance.to_json()) + "\n" for utterance in utterances]
    (folder / MANIFEST_NAME).write_text("".join(lines), encoding="utf-8")
    for tar in {utterance.tar for utterance in utterances}:
        shutil.copy(DEFAULT_FOLDER / tar, folder)
    return folder


def test_utterances_are_those_of_the_lines(shipped: Corpus, eager: list[Utterance]) -> None:
    assert list(shipped) == eager
    assert list(shipped.utterances) == eager
    assert list(shipped.utterances[100:200:7]) == eager[100:200:7]
    assert shipped.utterances[-1] == eager[-1]
    for utterance in eager[::50]:
        assert shipped[utterance.id] == utterance
        assert utterance.id in shipped
    assert "nobody/nothing" not in shipped
    with pytest.raises(KeyError, match="has no utterance 'nobody/nothing'"):
        shipped["nobody/nothing"]


@pytest.mark.parametrize("name", ["language", "speaker", "source", "split", "tag"])
def test_filters_choose_what_a_loop_over_all_does(
    shipped: Corpus, eager: list[Utterance], name: str
) -> None:
    texts = (
        {getattr(u, name) for u in eager} if name != "tag" else {t for u in eager for t in u.tags}
    )
    for text in sorted(texts)[:40]:
        expected = [
            u
            for u in eager
            if (text in u.tags if name == "tag" else getattr(u, name) == text)
            or (name == "split" and u.split == "any")
        ]
        assert list(shipped.filter(**{name: text})) == expected, text
    assert not shipped.filter(**{name: "none of them"}) or name == "split"


def test_several_filters_all_hold(shipped: Corpus, eager: list[Utterance]) -> None:
    found = shipped.filter(language="en-GB", source="amazon-queen", tag="backchannel", split="test")
    assert list(found) == [
        u
        for u in eager
        if (u.language, u.source, u.split) == ("en", "amazon-queen", "test")
        and "backchannel" in u.tags
    ]


def test_columns_are_those_of_the_utterances(shipped: Corpus, eager: list[Utterance]) -> None:
    everything = shipped.utterances
    for name in ("duration_s", "start_s", "end_s", "size"):
        assert everything.numbers(name).tolist() == [getattr(u, name) for u in eager]
    for name in ("id", "source", "speaker", "language", "key", "split", "licence", "tar"):
        assert everything.texts(name) == [getattr(u, name) for u in eager]
        assert everything.distinct(name) == sorted({getattr(u, name) for u in eager})
    assert everything.texts("text") == [normalise(u.text) for u in eager]
    assert everything.texts("canonical") == [canonical(u.text) for u in eager]
    assert everything.n_words().tolist() == [len(u.words) for u in eager]
    assert everything.numbers("text_words").tolist() == [len(words_of(u.text)) for u in eager]
    speakers = everything.by_text("speaker")
    assert list(speakers) == list(dict.fromkeys(u.speaker for u in eager))
    assert list(speakers["rita"]) == [u for u in eager if u.speaker == "rita"]
    assert list(everything.having("word", "three")) == [
        u for u in eager if any(word.text == "three" for word in u.words)
    ]


def test_cuts_of_words_are_found(shipped: Corpus, eager: list[Utterance]) -> None:
    for at_least, good in (("clean", {"clean"}), ("usable", {"clean", "usable"})):
        assert shipped.find_words("one", split="test", at_least=at_least) == tuple(
            (u, cut.word)
            for u in eager
            for cut in u.cuts
            if cut.quality in good and u.words[cut.word].text == "one" and u.split != "train"
        )


def test_who_may_be_heard_and_is_owed(shipped: Corpus, eager: list[Utterance]) -> None:
    config = DatagenConfig(out="unused", split="test")
    expected = [
        u
        for u in eager
        if u.words
        and "music" not in u.tags
        and (u.speaker in config.voices.unseen or u.split != "train")
    ]
    heard = audible(shipped, config)
    assert list(heard) == expected
    assert identities_of(heard) == [identity_of(u) for u in expected]
    assert credits_of(heard, shipped) == {credit_of(u, shipped) for u in expected}


def test_a_summary_counts_what_is_there(shipped: Corpus, eager: list[Utterance]) -> None:
    summary = count(shipped)
    assert summary["recordings"] == len(eager)
    assert summary["hours"] == round(sum(u.duration_s for u in eager) / 3600, 4)
    assert summary["speakers"]["test"] == len(
        {u.speaker for u in eager if u.split == "test"} - {""}
    )
    words = [word for u in eager for word in u.words]
    for times, counted in summary["word_times"].items():
        own = [word for word in words if word.times == times]
        assert counted["words"] == sum(len(words_of(word.text)) for word in own)
        assert counted["seconds"] == round(sum(word.end_s - word.start_s for word in own), 2)


def test_a_worker_reads_hardly_a_line(n_read: Callable[[], int]) -> None:
    config = DatagenConfig(out="unused")
    Corpus.open()  # makes the index if it is not there
    before = n_read()
    corpus = Corpus.open()
    bank = UnitBank(corpus, config)
    make_tokenizer(config, bank)
    VoiceMixture(bank, config)
    use_of(corpus, config)
    assert bank.lines(shortest_s=0.8, longest_s=6.0)
    assert n_read() - before < 0.01 * len(corpus)
    utterance = corpus.utterances[7]
    read = n_read()
    assert corpus.utterances[7] is utterance
    assert corpus[utterance.id] is utterance
    assert n_read() == read, "it is kept"


def test_the_prompt_that_is_said_is_the_first_by_its_id(
    shipped: Corpus, eager: list[Utterance], tmp_path: Path
) -> None:
    plain = DatagenConfig(out="unused")
    prompts = [u for u in eager if u.speaker == "asterisk-en" and u.text == "monday"]
    twice = [replace(prompts[0], id="asterisk-en/a"), prompts[0], replace(prompts[0], id="aa")]
    other = copy_of(tmp_path / "other", twice)
    bank = UnitBank(
        Corpus.open(other), replace(plain, voices=replace(plain.voices, people="trained"))
    )
    assert bank.agent("monday").source == "aa"


def test_corpora_together_are_their_utterances_in_order(
    shipped: Corpus, eager: list[Utterance], tmp_path: Path
) -> None:
    some = eager[::40]
    new = [replace(u, id=f"new/{number}") for number, u in enumerate(some)]
    folder = copy_of(tmp_path / "new", [*some[:5], *new])
    both = Corpora([shipped, Corpus.open(folder)])
    assert list(both) == [*eager, *new]
    assert list(both.filter(tag="digit")) == [u for u in (*eager, *new) if "digit" in u.tags]
    assert list(both.utterances.having("word", "one")) == [
        u for u in (*eager, *new) if any(word.text == "one" for word in u.words)
    ]
    assert both.owner(new[3]).folder == folder
    assert both.owner(some[0]) is shipped
    assert [len(both.of_parts([part])) for part in (0, 1)] == [len(eager), len(new)]
    np.testing.assert_array_equal(both.load(new[0]), shipped.load(some[0]))
    changed = copy_of(tmp_path / "changed", [replace(some[0], speaker="somebody")])
    with pytest.raises(ValueError, match="both have the id .*; add one of them under another name"):
        Corpora([shipped, Corpus.open(changed)])


def test_a_manifest_that_changes_in_use_is_a_sentence(
    eager: list[Utterance], tmp_path: Path
) -> None:
    folder = copy_of(tmp_path / "corpus", eager[:4])
    corpus = Corpus.open(folder)
    assert isinstance(corpus.catalogue, Catalogue)
    shutil.copy(DEFAULT_FOLDER / "asterisk-en.tar", folder)
    (folder / MANIFEST_NAME).write_text(
        "".join(json.dumps(u.to_json()) + "\n" for u in reversed(eager[:4])), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="manifest.jsonl was changed while it was in use"):
        list(corpus)
    assert list(Corpus.open(folder)) == eager[:4][::-1]
