"""Open transcript: what was heard against what was said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.open.transcript import measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue, word

Numbers = dict[str, Measured]


def transcript(script: HandMadeDialogue, heard: list[SpokenWord]) -> Measured:
    script.user = [word(text, 1.0 + i) for i, text in enumerate(("one", "two", "three", "four"))]
    return measure([observe(script.scene(replace(script.perform(), heard=tuple(heard))))])


@pytest.mark.parametrize(
    ("heard", "rate"),
    [
        (["one", "two", "three", "four"], 0.0),
        (["one", "two", "four"], 0.25),
        (["one", "too", "three", "four", "five"], 0.5),
        ([], 1.0),
    ],
)
def test_errors_are_counted_per_word_that_was_said(
    script: HandMadeDialogue, heard: list[str], rate: float
) -> None:
    got = transcript(script, [word(text, 1.2 + i) for i, text in enumerate(heard)])
    assert got["word_error_rate"] == pytest.approx(rate)
    assert got["credit"] == pytest.approx(1 - rate)
    assert got["words_heard"] == len(heard) / 4


def test_a_recogniser_stands_beside_where_one_heard_the_dialogue(script: HandMadeDialogue) -> None:
    assert transcript(script, [])["pocketsphinx_word_error_rate"] is None
    scene = script.scene(script.perform())
    heard = replace(scene, dialogue=replace(scene.dialogue, recognised=("one", "two", "for")))
    got = measure([observe(heard)])
    assert got["pocketsphinx_word_error_rate"] == pytest.approx(0.5)
    assert got["word_error_rate"] == 1.0


def test_only_who_writes_down_gets_credit(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("open_transcript", 6)
    assert got["oracle"]["credit"] == 1.0
    assert not got["silent"]["credit"]
