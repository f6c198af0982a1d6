"""Network: what is left of the answers at 5 % and 20 % of loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from microturn.datagen.labels.setting import ChannelLabel, NetworkLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.conditions.network import measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def scene_of(script: HandMadeDialogue, rate: float | None, *said: SpokenWord) -> ScoredDialogue:
    script.turn(1.0, 1.7, "three four")
    scene: ScoredDialogue = script.scene(script.perform(*said))
    channel = ChannelLabel(network=NetworkLabel(loss_rate=rate))
    trace = replace(scene.trace, missing_input=(2, 3, 4, 5))
    return ScoredDialogue(replace(scene.dialogue, channel=channel), trace, scene.windows)


RIGHT = (word("three", 2.0), word("four", 2.4))


@pytest.mark.parametrize(
    ("rate", "said", "key", "value"),
    [
        (0.05, RIGHT, "answered_5", 1.0),
        (0.05, (), "answered_5", 0.0),
        (0.2, RIGHT[:1], "answered_20", 0.0),
        (0.2, (word("three", 2.9), word("four", 3.3)), "answered_20", 0.0),  # too late
        (None, RIGHT, "answered_none", 1.0),
        (0.0, RIGHT, "answered_none", 1.0),
        (0.05, RIGHT, "latency_5_s", pytest.approx(0.3, abs=0.02)),
        (0.05, RIGHT, "late_5", 0.05),
        (0.05, RIGHT, "answered_20", None),
        (0.05, (), "latency_5_s", None),
    ],
)
def test_a_turn(
    script: HandMadeDialogue, rate: float | None, said: tuple[SpokenWord, ...], key: str, value: Any
) -> None:
    assert measure([observe(scene_of(script, rate, *said))])[key] == value


def test_the_headline_weighs_both_losses_alike() -> None:
    def facts(loss: str, *right: bool) -> dict[str, Any]:
        turns = [{"right": one, "clean": True, "late_s": 0.3} for one in right]
        return {"loss": loss, "late": 0.0, "turns": turns}

    got = measure([facts("5", True, True, True), facts("20", False), facts("none", False)])
    assert got["answered_lossy"] == 0.5
    assert set(measure([]).values()) == {None}


def test_baselines_score_what_theory_says(
    numbers_of: Callable[[str, int], Numbers], held_out: Callable[[str, int], list[HeldOutDialogue]]
) -> None:
    got = numbers_of("network", 9)
    for name in ("none", "5", "20"):  # each loss is there
        assert got["oracle"][f"answered_{name}"] == 1.0
        assert got["silent"][f"answered_{name}"] == got["always"][f"answered_{name}"] == 0.0
    assert got["oracle"]["late_none"] == 0.0
    assert 0.0 < (got["oracle"]["late_5"] or 0.0) < 0.12
    assert 0.12 < (got["oracle"]["late_20"] or 0.0) < 0.3
    # What is lost arrives as silence.
    sample = next(
        one for one in held_out("network", 9) if one.dialogue.channel.network.loss_rate == 0.2
    )
    missing = sample.load_missing_input()
    assert missing is not None
    pieces = sample.load_user().reshape(len(missing), -1)
    assert not pieces[missing].any()
    assert pieces[~missing].any(axis=1).all()


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("network", 9)
