"""An hour, here ten minutes of it: recalls by distance, both ends compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.simulate import simulate
from microturn.evaluation.agents.baselines import AlwaysTalking, Oracle, Silent
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.suites.registry import load_suite
from support.hand_made import HandMadeDialogue

SUITE = load_suite("long_session")
observe, measure = SUITE.observe, SUITE.measure


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def told(script: HandMadeDialogue, text: str, start_s: float, kind: str, answer: str) -> None:
    script.event(kind, start_s, start_s + 1.0, "respond", answer=answer, window=(0.0, 0.0))
    script.events[-1] = replace(script.events[-1], text=text, speaker="user")


@pytest.fixture
def remembered(script: HandMadeDialogue) -> HandMadeDialogue:
    """A minute: told at 2 s, recalled at 20 s and at 40 s, when it has been told anew at 36 s."""
    script.duration_s = 60.0
    told(script, "password is seven four", 2.0, "turn", "saved")
    told(script, "password", 20.0, "recall", "seven four")
    told(script, "work is one two", 4.0, "turn", "saved")
    told(script, "work", 50.0, "recall", "one two")
    return script


@pytest.mark.parametrize(
    ("said", "sooner", "later"),
    [
        ([], 0.0, 0.0),
        ([word("seven", 21.3), word("four", 21.7)], 1.0, 0.0),
        ([word("one", 51.3), word("two", 51.7)], 0.0, 1.0),
        ([word("seven", 51.3), word("four", 51.7)], 0.0, 0.0),  # something else that was told
    ],
)
def test_recalls(
    remembered: HandMadeDialogue, said: list[SpokenWord], sooner: float, later: float
) -> None:
    got = measure([observe(remembered.scene(remembered.perform(*said)))])
    assert (got["recalled_sooner"], got["recalled_30min"]) == (sooner, later)


def test_both_ends(script: HandMadeDialogue) -> None:
    script.duration_s = 100.0
    for at in (10.0, 50.0, 90.0):
        script.turn(at, at + 1.0, "five")
    said = [word("five", 11.3), word("five", 92.0), word("five", 60.0)]
    got = measure([observe(script.scene(script.perform(*said)))])
    assert (got["answered_first"], got["answered_last"]) == (1.0, 1.0)
    assert got["latency_first_s"] == pytest.approx(0.3, abs=0.02)
    assert got["latency_last_s"] == pytest.approx(1.0, abs=0.02)
    assert got["unasked_per_min"] == pytest.approx(0.6)
    assert set(measure([]).values()) == {None}


@pytest.fixture(scope="module")
def ten_minutes(suite_cache: Path) -> list[HeldOutDialogue]:
    """The suite's own configuration, shorter: times in it are shares of the whole."""
    out = suite_cache / "ten_minutes"
    words = [f"out={out}", "n_dialogues=1", "n_micro_turns=3000", "features=false", "workers=1"]
    config = load_config(DatagenConfig, [SUITE.data_path], [*words, "executor=serial"])
    simulate(config, cache=suite_cache)
    return list(DialogueSet.open(str(out)).read())


def test_baselines_score_what_theory_says(
    ten_minutes: list[HeldOutDialogue], measure_suite: Any
) -> None:
    always = AlwaysTalking.from_dialogues(lambda: iter(ten_minutes), ActivityConfig())
    agents = {"silent": Silent(), "always": always, "oracle": Oracle()}
    got = {name: measure_suite(SUITE, agent, ten_minutes) for name, agent in agents.items()}
    for key in ("recalled_30min", "recalled_sooner", "answered_first", "answered_last"):
        assert got["oracle"][key] == 1.0, key
        assert got["silent"][key] == got["always"][key] == 0.0, key
    assert got["oracle"]["unasked_per_min"] == 0.0


@pytest.mark.slow
def test_an_hour_is_an_hour(
    held_out: Callable[[str, int], list[HeldOutDialogue]], measure_suite: Any
) -> None:
    (sample,) = held_out("long_session", 1)
    assert sample.dialogue.duration_s == 3600.0
    got = measure_suite(SUITE, Oracle(), [sample])
    assert got["recalled_30min"] == 1.0
    assert len(sample.dialogue.of_type("turn")) > 80
    assert len(sample.dialogue.of_type("recall")) == 10
