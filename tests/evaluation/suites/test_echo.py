"""Echo: answers that are broken off because the agent heard itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from microturn.datagen.labels.setting import ChannelLabel, EchoPathLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

SUITE = load_suite("echo")
observe, measure = SUITE.observe, SUITE.measure
Numbers = dict[str, Measured]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


COUNT = [word(text, 2.0 + 0.4 * i) for i, text in enumerate(["three", "four", "five", "six"])]


@pytest.mark.parametrize(
    ("said", "whole", "broken", "unasked"),
    [
        ([], 0.0, 0.0, 0.0),  # never began: not broken off
        (COUNT, 1.0, 0.0, 0.0),
        (COUNT[:2], 0.0, 1.0, 0.0),
        ([word("four", 2.0)], 0.0, 0.0, 0.0),  # wrong from the start
        ([*COUNT, word("six", 9.0)], 1.0, 0.0, 3.75),  # repeats what it heard, 16 s long
    ],
)
def test_an_answer(
    script: HandMadeDialogue, said: list[SpokenWord], whole: float, broken: float, unasked: float
) -> None:
    script.turn(1.0, 1.7, "three four five six")
    got = measure([observe(script.scene(script.perform(*said)))])
    assert (got["said_whole"], got["broke_off"]) == (whole, broken)
    assert got["unasked_per_min"] == pytest.approx(unasked)


def test_with_a_canceller_and_without(script: HandMadeDialogue) -> None:
    script.turn(1.0, 1.7, "three four five six")
    plain: ScoredDialogue = script.scene(script.perform(*COUNT))
    path = EchoPathLabel(
        drive=0.0, erle_db=20.0, converge_s=1.0, taps_ms=10.0, loudspeaker_m=0.5, lag_ms=1.0
    )
    channel = ChannelLabel(echo_path=path)
    better = ScoredDialogue(replace(plain.dialogue, channel=channel), plain.trace, plain.windows)
    got = measure([observe(better)])
    assert (got["whole_with_canceller"], got["whole_without"]) == (1.0, None)
    assert set(measure([]).values()) == {None}


def test_baselines_score_what_theory_says(
    numbers_of: Callable[[str, int], Numbers], held_out: Callable[[str, int], list[HeldOutDialogue]]
) -> None:
    got = numbers_of("echo", 6)
    assert got["oracle"]["said_whole"] == 1.0
    assert got["oracle"]["unasked_per_min"] == got["oracle"]["broke_off"] == 0.0
    assert got["silent"]["said_whole"] == got["always"]["said_whole"] == 0.0
    # The agent is really in the microphone: the channels have something in common.
    sample = held_out("echo", 6)[0]
    user, agent = sample.load_user(), sample.load_agent()
    spectrum = np.fft.rfft(user, 2 * len(user)) * np.conj(np.fft.rfft(agent, 2 * len(agent)))
    alike = np.fft.irfft(spectrum)[:8000]  # delays up to half a second
    assert np.abs(alike).max() > 8 * np.abs(alike).std()


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("echo", 6)
