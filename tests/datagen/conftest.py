"""Small sets that the tests of datagen share; everything in them is real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig, RoomsConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate

ROOMS = RoomsConfig(n_rooms=2, method="tail")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> DatagenConfig:
    """Few rooms; out is a folder that nobody writes to."""
    return DatagenConfig(
        out=str(tmp_path_factory.mktemp("unused")),
        n_dialogues=6,
        dialogues_per_shard=2,
        seed=5,
        workers=2,
        rooms=ROOMS,
    )


@pytest.fixture(scope="session")
def simulator_for(cache: Path) -> Callable[[DatagenConfig], Simulator]:
    """Builds a simulator of any configuration, without writing a set."""

    def build(config: DatagenConfig) -> Simulator:
        rooms = ensure_bank(config.rooms, config.layout.sample_rate, folders=[cache])
        tokenizer = make_tokenizer(config, UnitBank(open_corpus(config), config))
        return Simulator(config, rooms=rooms, tokenizer=tokenizer)

    return build


@pytest.fixture(scope="session")
def simulator(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> Simulator:
    return simulator_for(config)


@pytest.fixture(scope="session")
def finished_set(
    config: DatagenConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ShardReader:
    """A set of six dialogues in three shards, made by two workers, with stems."""
    out = tmp_path_factory.mktemp("sets") / "set"
    simulate(replace(config, out=str(out), stems=True), cache=cache)
    return ShardReader(out)
