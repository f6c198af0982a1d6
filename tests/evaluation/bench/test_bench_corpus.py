"""The bench of opening corpora: its corpora are what they say, and every row is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.datagen.corpora.manifest import Corpus
from microturn.evaluation.bench.corpora.bench import GOALS, ROWS
from microturn.evaluation.bench.corpora.many_lines import write_corpus
from microturn.evaluation.bench.corpora.peers import PEERS


def test_copies_have_ids_people_and_texts_of_their_own(tmp_path: Path) -> None:
    n = len(Corpus.open())
    write_corpus(tmp_path / "corpus", 2 * n + 5)
    corpus = Corpus.open(tmp_path / "corpus")
    assert len(corpus) == 2 * n + 5
    first, second = corpus.utterances[:n], corpus.utterances[n : 2 * n]
    assert list(first) == list(Corpus.open())
    assert [u.id for u in second] == [f"{u.id}-1" for u in first]
    assert len(corpus.filter(speaker="rita")) == len(corpus.filter(speaker="rita-1")) > 1
    prompts = len(Corpus.open().filter(speaker="asterisk-en"))
    assert len(corpus.filter(speaker="asterisk-en")) == 2 * prompts + 5
    long = [u for u in second if len(u.text.split()) > 3 and "prompt" not in u.tags]
    assert all(u.text.endswith(" 1") for u in long)
    one = corpus.utterances[2 * n + 1]
    assert len(corpus.load(one)) > 1000


@pytest.mark.slow
def test_every_row_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus.json"
    code = main(["bench", "corpus", "utterances=[400,3210]", f"json={out}"])
    result = json.loads(out.read_text())
    assert code == (0 if result["reached"] else 1)
    assert result["goals"] == GOALS
    for found in result["utterances"].values():
        assert list(found) == list(ROWS)
        assert all(row["seconds"] >= 0 for row in found.values())
    said = capsys.readouterr().out
    assert all(text in said for text in ROWS.values())
    assert set(PEERS) < set(ROWS)


def test_counts_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "corpus", "utterances=[0]"]) == 2
    assert "utterances=[0] must be counts of at least 1" in capsys.readouterr().err
