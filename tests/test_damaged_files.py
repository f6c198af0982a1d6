"""What a damaged file of a set, a checkpoint or a result gives: one sentence that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.reading import naming_damage
from microturn.datagen.corpora.listing import list_corpora
from microturn.datagen.report.card import CARD_JSON, read_card
from microturn.datagen.sets.contents import CONTENTS_NAME, read_contents
from microturn.datagen.sets.shards import INDEX_NAME, read_index
from microturn.datagen.sets.storage import place
from microturn.evaluation.report import observations, scores
from microturn.evaluation.report.observations import read_observations
from microturn.evaluation.report.scores import read_scores
from microturn.evaluation.stages import LEDGER, Ledger
from microturn.model.card import CARD
from microturn.model.checkpoint import random_checkpoint, save_checkpoint
from microturn.model.checkpoint_files import CONTENTS, LAYOUT
from microturn.model.model import InteractionModel
from microturn.model.streams import StreamLayout
from microturn.training.reading.damage import DamagedDialogues

READERS: dict[str, Callable[[Path], Any]] = {
    INDEX_NAME: lambda folder: read_index(place(str(folder))),
    CARD_JSON: lambda folder: read_card(place(str(folder))),
    CONTENTS_NAME: read_contents,
    LAYOUT: lambda folder: StreamLayout.load(folder / LAYOUT),
    scores.NAME: read_scores,
    observations.NAME: lambda folder: read_observations(folder, "checkpoint"),
    LEDGER: lambda folder: Ledger(folder / LEDGER),
    "damaged.jsonl": lambda folder: DamagedDialogues(3, folder / "damaged.jsonl", writes=False),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("data", [b"{", b"[5]", b"5", b'"x"', b"\xff\xfe\x00\xd8"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / name))}\b") as raised:
        READERS[name](tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        (INDEX_NAME, {"format": 1, "split": "train"}, "'n_micro_turns' is missing"),
        (INDEX_NAME, {"format": 1, "split": "a", "n_micro_turns": 1, "shards": [1]}, "int"),
        (CONTENTS_NAME, {"format": 1, "sentences": {}}, "'speakers' is missing"),
        (CONTENTS_NAME, {"format": 1, "speakers": 5}, "'int' object has no attribute 'items'"),
        (scores.NAME, {"format": 3, "agent": "x"}, "'suites' is missing.*`microturn evaluate`"),
        (LEDGER, {"set": {"code": 0}}, "'words' is missing.*delete it to run every stage"),
        (LEDGER, {"set": {"code": 0, "words": ["a"], "seconds": "x"}}, "could not convert"),
        (LAYOUT, {"layout_version": 1, "sample_rate": "x"}, "sample_rate must be a whole number"),
        (LAYOUT, {"layout_version": 1, "video_rows": 1.5}, "video_rows must be a whole number"),
        (LAYOUT, {"layout_version": 1, "sample_rate": 5}, "layout.sample_rate=5 gives no whole"),
    ],
)
def test_a_wrong_field_is_named(
    tmp_path: Path, name: str, values: dict[str, Any], text: str
) -> None:
    (tmp_path / name).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{re.escape(name)}\b.*{text}"):
        READERS[name](tmp_path)


def test_what_names_the_file_already_passes_as_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"^a\.json: of another kind$"),
        naming_damage("a.json", ""),
    ):
        raise ValueError("a.json: of another kind")
    with pytest.raises(FileNotFoundError), naming_damage("a.json", ""):
        (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("text", ["[]", "5", '{"speakers": 5}', "{"])
def test_the_card_of_damaged_contents_is_not_written(tmp_path: Path, text: str) -> None:
    loaded = random_checkpoint()
    save_checkpoint(tmp_path, loaded.model, loaded.tokenizer, notes={CONTENTS: text})
    model = InteractionModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"contents\.json is damaged .*; copy it again, or delete"):
        model.write_card(tmp_path)
    assert not (tmp_path / CARD).exists()


def test_a_corpus_with_a_damaged_summary_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("")
    (tmp_path / "corpus.json").write_text("[")
    with pytest.raises(ValueError, match=r"corpus\.json is damaged .*copy or add the corpus again"):
        list_corpora(str(tmp_path))
