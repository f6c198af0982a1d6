"""Silence: onsets that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from microturn.datagen.labels.setting import ChannelLabel
from microturn.evaluation.agents.baselines import Oracle, Silent
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.conditions.silence import KINDS, SUITE, measure, observe
from support.hand_made import HandMadeDialogue


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def scene_of(script: HandMadeDialogue, noise: str, *said: SpokenWord) -> ScoredDialogue:
    script.duration_s = 60.0
    scene: ScoredDialogue = script.scene(script.perform(*said))
    dialogue = replace(scene.dialogue, channel=ChannelLabel(noise=noise))
    return ScoredDialogue(dialogue, scene.trace, scene.windows)


@pytest.mark.parametrize(
    ("said", "onsets", "silent"),
    [
        ([], 0.0, 1.0),
        ([word("yes", 14.0)], 1.0, 5 / 6),
        ([word("yes", 14.0), word("no", 14.5)], 1.0, 5 / 6),  # one utterance
        ([word("yes", 14.0), word("no", 19.9)], 2.0, 4 / 6),  # the second reaches into the next
    ],
)
def test_a_minute(
    script: HandMadeDialogue, said: list[SpokenWord], onsets: float, silent: float
) -> None:
    got = measure([observe(scene_of(script, "pink", *said))])
    assert got["noise_onsets_per_min"] == onsets
    assert got["silent"] == pytest.approx(silent)
    assert got["digital_onsets_per_min"] is None


def test_kinds_and_runs(script: HandMadeDialogue) -> None:
    facts = [
        observe(scene_of(script, "")),
        observe(scene_of(script, "music", word("yes", 30.0))),
    ]
    got = measure(facts)
    assert (got["digital_onsets_per_min"], got["music_onsets_per_min"]) == (0.0, 1.0)
    assert got["silent_runs"] == 0.5
    assert got["first_onset_s"] == pytest.approx(30.0, abs=0.02)
    assert set(measure([]).values()) == {None}


class Talker:
    """Makes noise without end."""

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        rng = np.random.default_rng(0)
        for sample in samples:
            n = round(sample.dialogue.duration_s * sample.sample_rate)
            audio = 0.1 * rng.standard_normal(n, dtype=np.float32)
            yield AgentOutput(audio=audio, sample_rate=sample.sample_rate)


def test_baselines_score_what_theory_says(
    held_out: Callable[[str, int], list[HeldOutDialogue]], measure_suite: Any
) -> None:
    samples = held_out("silence", 3)
    assert all(sample.dialogue.duration_s == 300.0 for sample in samples)
    agents = {"silent": Silent(), "oracle": Oracle(), "always": Talker()}
    got = {name: measure_suite(SUITE, agent, samples) for name, agent in agents.items()}
    # Silence is right until the question, and no longer.
    assert (got["silent"]["credit"], got["oracle"]["credit"]) == (0.0, 1.0)
    assert got["always"]["credit"] == 0.0
    assert got["silent"]["silent"] == got["silent"]["silent_runs"] == 1.0
    assert got["oracle"]["silent"] == got["oracle"]["silent_runs"] == 1.0
    assert got["always"]["silent"] == got["always"]["silent_runs"] == 0.0
    # Each kind is there, and digital silence is zeros.
    assert all(got["oracle"][f"{kind}_onsets_per_min"] == 0.0 for kind in KINDS)
    noises = [sample.dialogue.channel.noise for sample in samples]
    for kind, zeros in (("", True), ("pink", False)):
        sample = samples[noises.index(kind)]
        question, _ = sample.dialogue.of_type("turn")
        asked = [w.text for w in sample.dialogue.user_words if w.end_s <= question.end_s + 0.01]
        assert question.expected != tuple(asked[-1:])  # an echo does not answer it
        until = round((question.start_s - 1.0) * sample.sample_rate)
        assert bool(sample.load_user()[:until].any()) != zeros
        assert question.start_s > 275.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("silence", 3)
