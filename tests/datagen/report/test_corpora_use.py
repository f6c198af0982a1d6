"""The card says of every corpus how much of it is heard, and why the rest is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.pipeline import open_corpus
from microturn.datagen.report.corpora_use import Heard, hopeless, unheard, use_lines, use_of
from microturn.datagen.report.heard import identity_of
from microturn.datagen.sets.contents import Contents, digest_of
from microturn.datagen.simulate import simulate
from support.open_corpora import recorded_rows, write_conversations


def corpus_of(root: Path, name: str, rows: list[dict[str, Any]], cache: Path) -> str:
    """Add a corpus of shipped lines under other languages, lengths and texts."""
    shipped = Corpus.open()
    source = root / name
    source.mkdir(parents=True)
    lines = []
    for number, row in enumerate(rows):
        line = shipped[row.pop("id")]
        audio = np.asarray(shipped.load(line)) * (1 - 0.01 * number)
        soundfile.write(source / f"{number}.wav", audio, 16_000, subtype="PCM_16")
        words = [[w.text, w.start_s, w.end_s] for w in line.words]
        lines.append({"audio_filepath": f"{number}.wav", "text": line.text, "words": words} | row)
    (source / "all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = root / f"{name}-corpus"
    add_corpus(
        CorpusAddConfig(
            source=str(source / "all.jsonl"), name=name, out=str(out), workers=1, cache=str(cache)
        )
    )
    return str(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, config: DatagenConfig, cache: Path) -> Any:
    """A set with three corpora: the shipped one, a German one, and one that is used in part."""
    root = tmp_path_factory.mktemp("corpora")
    lines = Corpus.open().filter(source="amazon-queen")
    line = next(u for u in lines if 1.5 < u.duration_s < 2.5).id
    longer = next(u for u in lines if u.duration_s > 5).id
    german = corpus_of(
        root, "german", [{"id": line, "speaker": "a", "lang": "deu", "split": "train"}], cache
    )
    mixed = [{"id": line, "speaker": f"s{i}", "lang": "en-GB", "split": "train"} for i in range(3)]
    long = [{"id": longer, "speaker": "s9", "lang": "en", "split": "train"}]
    tests = [{"id": line, "speaker": "t", "lang": "en", "split": "test"}]
    mine = corpus_of(root, "mine", [*mixed, *long, *tests], cache)
    out = root / "set"
    made = replace(
        config,
        out=str(out),
        corpus=f"default,{german},{mine}",
        n_dialogues=4,
        only=("background",),
        executor="serial",
    )
    return simulate(made, cache=cache), out


def test_every_corpus_has_its_share_and_its_reasons(made: Any) -> None:
    card, _ = made
    corpora = card["corpora"]
    assert list(corpora) == ["default", "german-corpus", "mine-corpus"]
    assert corpora["german-corpus"]["share_of_speech"] == 0
    assert corpora["german-corpus"]["unused"] == {"language de": 1}
    mine = corpora["mine-corpus"]
    assert mine["recordings"] == 5
    assert mine["unused"]["length"] == 1
    assert mine["unused"]["split"] == 1
    assert mine["heard"] + sum(mine["unused"].values()) == 5
    assert sum(row["share_of_speech"] for row in corpora.values()) == pytest.approx(1, abs=1e-3)
    for row in corpora.values():
        total = sum(row["speakers"].values())
        assert total == pytest.approx(
            row["share_of_speech"], abs=2e-3 + 1e-4 * len(row["speakers"])
        )


def test_a_corpus_that_nobody_hears_is_warned_about(
    made: Any,
    config: DatagenConfig,
    capsys: pytest.CaptureFixture[str],
    cache: Path,
    tmp_path: Path,
) -> None:
    _, out = made
    text = (out / "card.md").read_text()
    assert "| german-corpus | 1 | 0 | **0 %** | 1 language de |" in text
    assert "`length`: it is no phrase of the vocabulary, and no line of 0.8 to 4.5 s" in text
    german = str(out.parent / "german-corpus")
    again = replace(
        config,
        out=str(tmp_path / "set"),
        corpus=f"default,{german}",
        n_dialogues=1,
        only=("turn",),
        executor="serial",
    )
    simulate(again, cache=cache)
    said = capsys.readouterr().err
    assert (
        said.count("corpus german-corpus is 0 % of the speech; unused recordings: 1 language de")
        == 1
    )


def test_a_recording_that_is_there_twice_counts_once() -> None:
    corpus = Corpus.open()
    names = {f"amazon-queen/{name}" for name in ("CDINT061", "CINTR051")}
    twice = corpus.utterances.where(corpus.catalogue.is_one_of("id", names))
    assert len({identity_of(u) for u in twice}) == 1
    contents = Contents(speakers={"rita": {identity_of(twice[0]): 3.0}, "joe": {"other": 1.0}})
    assert Heard(contents).shares_of(twice) == {0: 0.75, 1: 0.0}
    joe = Contents(speakers={"joe": contents.speakers["rita"]})
    assert Heard(joe).shares_of(twice) == {}


def test_recorded_conversations_count_as_their_corpus(
    config: DatagenConfig, tmp_path: Path
) -> None:
    rows = recorded_rows(Corpus.open(), tmp_path / "calls")
    folder = write_conversations(tmp_path / "calls", rows)
    changed = replace(config, corpus=f"default,{folder}", only=("recorded",))
    corpus = open_corpus(changed)
    heard = Contents(
        speakers={"calls-a": {digest_of("calls/one"): 3.0}, "calls-b": {"other": 1.0}},
    )
    use = use_of(corpus, changed, heard)
    assert use["calls"]["conversations"] == use["calls"]["conversations_heard"] == 1
    assert use["calls"]["share_of_speech"] == 0.75
    assert use["calls"]["speakers"] == {"calls-a": 0.75, "calls-b": 0.0}
    assert "| calls | 0, 1 conversations | 0, 1 conversations | 75.0% | none |" in use_lines(use)
    assert hopeless(use_of(corpus, changed)) == []
    (text,) = unheard({"calls": use_of(corpus, changed)["calls"]})
    assert text == "corpus calls has 1 recorded conversation, and none was drawn"
    (text,) = hopeless(use_of(corpus, replace(changed, only=("turn",))))
    assert text.endswith("and families.recorded is 0, so none is used")
