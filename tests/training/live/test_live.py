"""Live dialogues are those of the shard set, disjoint over ranks and workers, and resumable."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import ConfigError
from microturn.configs.main import main
from microturn.datagen.config import DatagenConfig, RoomsConfig
from microturn.datagen.live import LiveSource
from microturn.datagen.sets.contents import read_contents
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate
from microturn.model.streams import Lanes

CONFIG = DatagenConfig(
    out="unused",
    n_dialogues=3,
    dialogues_per_shard=3,
    n_micro_turns=50,
    seed=4,
    rooms=RoomsConfig(n_rooms=2, method="tail"),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(cache: Path) -> LiveSource:
    return LiveSource.of(replace(CONFIG, cache=str(cache)))


def same(a: Lanes, b: Lanes) -> bool:
    others = b.named_arrays()
    return all(np.array_equal(array, others[name]) for name, array in a.named_arrays().items())


def test_live_dialogues_are_those_of_the_set(
    source: LiveSource, cache: Path, tmp_path: Path
) -> None:
    simulate(replace(CONFIG, out=str(tmp_path / "set"), executor="serial"), cache=cache)
    reader = ShardReader(tmp_path / "set", layout=source.layout)
    copy = pickle.loads(pickle.dumps(source))  # what a worker of another process gets
    assert len(source) == len(reader) == 3
    for i in (2, 0):
        assert same(copy.lanes(i), reader[i].lanes())
    assert source.tokenizer.encode("one two") == reader.tokenizer.encode("one two")
    stored, may_be = read_contents(reader.folder), source.contents()
    assert stored is not None
    assert stored.credits
    assert stored.credits <= (may_be.credits or set())  # of all that may be drawn
    assert stored.said == may_be.said


def test_a_wrong_name_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="no configuration file nowhere.yaml"):
        LiveSource.open("live:nowhere.yaml")
    with pytest.raises(ConfigError, match="unknown key 'sed'"):
        LiveSource.open("live:datagen/smoke.yaml sed=3")


def test_training_on_live_dialogues(cache: Path, tmp_path: Path) -> None:
    rooms = "rooms.n_rooms=2 rooms.method=tail"
    data = f"live:datagen/smoke.yaml n_micro_turns=20 {rooms} cache={cache}"
    sizes = ["model.n_layers=1", "max_steps=2", "batch_size=2"]
    argv = ["train", f"data={data}", f"out={tmp_path}", *sizes, "loader_workers=0"]
    assert main([*argv, "accelerator=cpu"]) == 0
    assert (tmp_path / "checkpoint" / "tokenizer.json").is_file()
