"""Nothing but the words tells what an event is; and a planted artefact is found.

Small sets see large leaks only: docs/simulation.md names the command for small ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.voice_mixture import VoiceMixture
from microturn.datagen.pipeline import SimulatedDialogue, Simulator
from microturn.datagen.report.card import CARD_JSON, card_text
from microturn.datagen.report.leakage import ALL, PAIRS, leaks, measure_leakage
from microturn.datagen.report.leakage_rows import OWN, NuisanceRow, nuisance_rows
from microturn.datagen.sets.shards import ShardReader
from microturn.model.streams import Lanes

Build = Callable[[DatagenConfig], Simulator]
FIRST = PAIRS[0].name
INTERRUPTIONS = ("stop phrase", "interrupting question", "unfinished interruption")
SIZES = {"demo": 160, "everything": 110, "human": 60}
MIN_FOUND = 0.7  # accuracy on a planted artefact


@pytest.fixture(scope="module")
def rows_of(config: DatagenConfig, simulator_for: Build) -> Callable[[str], list[NuisanceRow]]:
    kept: dict[str, list[NuisanceRow]] = {}

    def rows(name: str) -> list[NuisanceRow]:
        if name not in kept:
            chosen = load_config(DatagenConfig, [f"datagen/{name}.yaml"], ["out=x", "seed=7"])
            rooms = replace(config.rooms, n_rooms=6)
            simulator = simulator_for(replace(chosen, rooms=rooms, features=False))
            kept[name] = []
            for index in range(SIZES[name]):
                kept[name] += _rows_of_dialogue(simulator, index)
        return kept[name]

    return rows


def _rows_of_dialogue(simulator: Simulator, index: int) -> Iterator[NuisanceRow]:
    recipe = simulator.recipe(index)
    script, families, conditions = simulator.script(recipe)
    sound = simulator.sound(recipe, script, conditions=conditions)
    dialogue = SimulatedDialogue(
        recipe=recipe,
        script=script,
        families=families,
        conditions=conditions,
        sound=sound,
        lanes=cast(Lanes, None),  # films and features take longer than all the rest
    )
    return nuisance_rows(simulator.labels(dialogue), sound.stems["user"])


@pytest.mark.parametrize("name", SIZES)
def test_only_the_words_tell_an_event(
    name: str, rows_of: Callable[[str], list[NuisanceRow]]
) -> None:
    measured = measure_leakage(rows_of(name), conversation=name == "human")
    assert not leaks(measured)
    first = measured[FIRST]
    assert {"voice", "spectrum", "level", "room", "noise", "time", "micro_turn", ALL} <= set(first)
    for row in first.values():
        assert row["chance"] == pytest.approx(0.5, abs=0.06)
        assert row["ci95"][0] <= row["accuracy"] <= row["ci95"][1]


@pytest.mark.parametrize("name", SIZES)
def test_backchannels_and_interruptions_share_their_voices(
    name: str, rows_of: Callable[[str], list[NuisanceRow]]
) -> None:
    """Both have the user's own voice and those of others, with shares equal within chance."""
    own: dict[str, Counter[bool]] = {"backchannel": Counter(), "interruption": Counter()}
    for row in rows_of(name):
        kind = "interruption" if row.kind in INTERRUPTIONS else row.kind
        if kind in own:
            own[kind][row.names["voice"] == OWN] += 1
    shares = {kind: seen[True] / seen.total() for kind, seen in own.items()}
    n = min(seen.total() for seen in own.values())
    assert n >= 20
    assert abs(shares["backchannel"] - shares["interruption"]) < 3.3 * np.sqrt(2 * 0.25 / n)
    assert all(0.5 < share < 1.0 for share in shares.values())


def test_probability_of_a_voice_is_the_same_for_every_kind(simulator: Simulator) -> None:
    """The voices of a mixture say something of every kind, and the user's own voice too."""
    mixture = VoiceMixture(simulator.bank, simulator.config)
    voice = simulator.bank.user_voices[0]
    rng = np.random.default_rng(0)
    drawn = Counter(mixture.draw(rng) for _ in range(400))
    assert drawn[""] / drawn.total() == pytest.approx(1 - mixture.other_share, abs=0.08)
    assert len(drawn) > 8
    for speaker in drawn:
        backchannel = mixture.backchannel(rng, speaker, voice=voice)
        stop = mixture.stop(rng, speaker, voice=voice)
        assert stop is not None
        expected = speaker or voice.partition("@")[0]
        assert {unit.voice.partition("@")[0] for unit in (backchannel, stop)} == {expected}


def _planted(rows: list[NuisanceRow], feature: str) -> list[NuisanceRow]:
    """Rows in which four of five backchannels have something that interruptions have not."""
    rng = np.random.default_rng(3)

    def shifted(row: NuisanceRow) -> NuisanceRow:
        names = {**row.names, feature: "planted"} if feature in row.names else row.names
        first, *rest = row.numbers.get(feature, (0.0,))
        numbers = {**row.numbers, feature: (first - 4.0 * (1.0 + abs(first)), *rest)}
        return replace(row, names=names, numbers=numbers)

    return [
        shifted(row) if row.kind == "backchannel" and rng.random() < 0.8 else row for row in rows
    ]


@pytest.mark.parametrize(
    "feature", ["voice", "level", "speed", "bandwidth", "room", "noise", "time", "micro_turn"]
)
def test_a_planted_artefact_is_found(
    feature: str, rows_of: Callable[[str], list[NuisanceRow]]
) -> None:
    measured = measure_leakage(_planted(rows_of("demo"), feature))
    assert measured[FIRST][feature]["leaks"]
    assert measured[FIRST][feature]["accuracy"] > MIN_FOUND
    assert any(sentence.startswith(f"{feature} tells {FIRST}") for sentence in leaks(measured))


def test_backchannels_of_other_voices_alone_are_found(
    rows_of: Callable[[str], list[NuisanceRow]],
) -> None:
    """The artefact that sets once had: backchannels by others, interruptions by the user."""
    rows = [
        replace(row, names={**row.names, "voice": "joe" if row.kind == "backchannel" else OWN})
        for row in rows_of("demo")
        if row.kind in ("backchannel", *INTERRUPTIONS)
    ]
    found = measure_leakage(rows)[FIRST]
    assert found["voice"]["accuracy"] == 1.0
    assert found[ALL]["leaks"]


def test_labels_without_a_pattern_are_at_chance() -> None:
    """Of 40 sets without a leak, none or one is beyond its limit in some feature."""
    n_found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = []
        for dialogue in range(80):
            room = float(rng.normal())
            for _ in range(int(rng.integers(1, 4))):
                kind = ("backchannel", "stop phrase")[int(rng.random() < 0.4)]
                time = tuple(float(x) for x in rng.normal(size=3))
                rows.append(
                    NuisanceRow(
                        kind=kind,
                        dialogue=dialogue,
                        numbers={"room": (room,), "time": time},
                        names={"voice": OWN if rng.random() < 0.8 else "joe"},
                    )
                )
        n_found += bool(leaks(measure_leakage(rows)))
    assert n_found <= 1


def test_the_probe_is_a_function_of_its_rows(
    rows_of: Callable[[str], list[NuisanceRow]],
) -> None:
    rows = [row for row in rows_of("demo") if row.dialogue < 100]
    stored = [NuisanceRow.from_json(row.to_json()) for row in rows]
    assert measure_leakage(stored) == measure_leakage(stored)
    assert measure_leakage(iter(stored)).keys() == {pair.name for pair in PAIRS}


def test_the_card_shows_what_leaks(
    finished_set: ShardReader, rows_of: Callable[[str], list[NuisanceRow]]
) -> None:
    card = json.loads((finished_set.folder / CARD_JSON).read_text())
    assert card["leakage"] == {}
    assert "Too few events: 20 of each kind" in card_text(card)
    card["leakage_by_pair"] = measure_leakage(_planted(rows_of("demo"), "voice"))
    text = card_text(card)
    assert f"### {FIRST}" in text
    assert "| voice | **" in text
    assert "| (time) | " in text  # allowed for another pair
