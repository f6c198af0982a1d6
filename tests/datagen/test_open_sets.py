"""A set of open speech goes the way of every other: workers, check, card, exports, live mode."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.export import export
from microturn.datagen.live import LiveSource
from microturn.datagen.report.check import faults_of_set
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate
from support.open_corpora import recorded_rows, scripted_rows, write_conversations

N = 6


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, config: DatagenConfig) -> DatagenConfig:
    """Every open family, with what may stand before a dialogue."""
    folder = tmp_path_factory.mktemp("played")
    rows = scripted_rows(Corpus.open()) + recorded_rows(Corpus.open(), folder, redacted=True)
    corpus = f"default,scenes,{write_conversations(folder, rows)}"
    overrides = ["out=unused", f"n_dialogues={N}", "dialogues_per_shard=2", "n_micro_turns=100"]
    more = ["families.scripted=1", "families.recorded=1", "voices.voice_prompt_s=[0, 2]"]
    found = load_config(
        DatagenConfig,
        ["datagen/open.yaml"],
        [*overrides, *more, "scenarios.instructed_share=0.5", "workers=2", "seed=8"],
    )
    return replace(found, corpus=corpus, rooms=config.rooms)


@pytest.fixture(scope="module")
def finished(
    mixed: DatagenConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ShardReader:
    out = tmp_path_factory.mktemp("open") / "set"
    simulate(replace(mixed, out=str(out)), cache=cache)
    return ShardReader(out)


def test_bytes_do_not_depend_on_the_workers(
    finished: ShardReader, mixed: DatagenConfig, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "alone"
    simulate(replace(mixed, out=str(out), executor="serial", workers=1), cache=cache)
    for shard in finished.shards:
        path = finished.folder / shard.name
        assert (out / shard.name).read_bytes() == Path(str(path)).read_bytes()


def test_a_set_of_open_speech_has_no_faults(finished: ShardReader) -> None:
    assert list(faults_of_set(finished)) == []


def test_the_card_shows_who_speaks_and_what_is_said(finished: ShardReader) -> None:
    card = json.loads((finished.folder / "card.json").read_text(encoding="utf-8"))
    agents = [name for name in card["counts"]["speakers"] if name.startswith("agent: ")]
    assert len(agents) > 2
    assert len(card["counts"]["families"]) > 2
    assert sum(card["counts"]["agent_words"].values()) > 50
    use = card["corpora"]
    assert all("language" not in reason for row in use.values() for reason in row["unused"])


@pytest.mark.parametrize("form", ["moshi", "lhotse"])
def test_a_set_of_open_speech_is_exported(finished: ShardReader, form: str, tmp_path: Path) -> None:
    out = tmp_path / form
    export(ExportConfig(data=str(finished.folder), format=form, out=str(out)))
    assert len([path for path in out.rglob("*") if path.suffix in (".wav", ".flac")]) >= N


def test_live_dialogues_are_those_of_the_set(finished: ShardReader, mixed: DatagenConfig) -> None:
    live = LiveSource.of(mixed)
    for index in range(2):
        stored, made = finished.lanes(index), live.lanes(index)
        for name in ("heard", "say", "text_in", "audio_out"):
            assert np.array_equal(stored[name], made[name])
            if name in stored.weights:
                assert np.array_equal(stored.weights[name], made.weights[name])
