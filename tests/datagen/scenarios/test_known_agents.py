"""`voices.known_agents`: people who are held out talk with a voice that training knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.card import card_text
from microturn.datagen.report.check import faults_of_set
from microturn.datagen.scenarios.open.casting import Casting
from microturn.datagen.sets.contents import read_contents
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate

Build = Callable[[DatagenConfig], Simulator]
KNOWN = ["voices.known_agents=true"]
TRAINED = {"joe"}


def of_test(*values: str) -> DatagenConfig:
    loaded: DatagenConfig = load_config(
        DatagenConfig,
        ["datagen/open.yaml"],
        ["out=unused", "split=test", "only=[scripted]", "n_micro_turns=100", *values],
    )
    return loaded


def test_without_the_key_no_dialogue_is_of_held_out_people_alone(
    config: DatagenConfig, simulator_for: Build
) -> None:
    with pytest.raises(ValueError, match="needs in corpus=default,scenes for split=test: a script"):
        simulator_for(replace(of_test(), rooms=config.rooms))
    with pytest.raises(ValueError, match="voices.known_agents=true needs split=test"):
        of_test("split=train", *KNOWN)


def test_users_are_held_out_and_the_agent_alone_is_known(
    config: DatagenConfig, simulator_for: Build
) -> None:
    simulator = simulator_for(replace(of_test(*KNOWN), rooms=config.rooms))
    assert simulator.sources is not None
    scripted, unseen = simulator.sources.scripted, simulator.config.voices.unseen
    assert set(scripted.by_agent) == TRAINED
    assert len(scripted.by_agent["joe"]) == 21
    for place in scripted.by_agent["joe"]:
        speakers = {turn.speaker for turn in scripted.turns(place)}
        assert "joe" in speakers
        assert speakers - TRAINED
        assert speakers - TRAINED <= set(unseen)
    for index in range(4):
        script = simulator.script(simulator.recipe(index)).script
        asked = {event.text for event in script.timeline.events if event.type == "turn"}
        assert asked or script.timeline.agent
        voices = {clip.unit.voice for clip in script.clips if clip.lane == "agent"}
        assert voices == TRAINED


def test_other_families_have_agents_of_the_test_alone(
    config: DatagenConfig, simulator_for: Build
) -> None:
    mixed = of_test(*KNOWN, "only=[scripted,narration,listening]")
    simulator = simulator_for(replace(mixed, rooms=config.rooms))
    assert simulator.sources is not None
    assert isinstance(simulator._casting, Casting)
    for index in range(12):
        recipe = simulator.recipe(index)
        assert recipe.cast is not None
        if recipe.cast.agent in TRAINED:
            assert set(recipe.families) == {"scripted"}
        else:
            assert "scripted" not in recipe.families
            assert recipe.cast.agent in simulator.sources.speech.agents


def test_the_card_counts_them_and_bytes_are_the_same_by_any_number_of_workers(
    config: DatagenConfig, cache: Path, tmp_path: Path
) -> None:
    small = of_test(*KNOWN, "n_dialogues=2", "dialogues_per_shard=1", "workers=1")
    small = replace(small, rooms=config.rooms)
    one, two = tmp_path / "one", tmp_path / "two"
    card = simulate(replace(small, out=str(one), executor="serial"), cache=cache)
    assert card["counts"]["known_agents"] == {"joe": 2}
    line = "User unseen, agent known: in 2 of 2 dialogues the agent's voice is one of training"
    assert line in card_text(card)
    assert list(faults_of_set(ShardReader(one))) == []
    heard = read_contents(one)
    assert heard is not None
    assert not TRAINED & heard.speakers.keys()
    simulate(replace(small, out=str(two), workers=2), cache=cache)
    for shard in ShardReader(one).shards:
        assert (one / shard.name).read_bytes() == (two / shard.name).read_bytes()
    plain = json.loads((one / "card.json").read_text())
    assert plain["counts"]["known_agents"] == {"joe": 2}
