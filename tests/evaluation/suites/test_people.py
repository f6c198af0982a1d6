"""People: who asks, and that the same answer counts alike for everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from microturn.datagen.config import VoicesConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.conditions.people import measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]


def scene_of(script: HandMadeDialogue, user: str, *said: SpokenWord) -> ScoredDialogue:
    script.turn(1.0, 1.7, "alpha")
    scene: ScoredDialogue = script.scene(script.perform(*said))
    dialogue = replace(scene.dialogue, users=frozenset([user]))
    return ScoredDialogue(dialogue, scene.trace, scene.windows)


def word(text: str, start_s: float) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + 0.36)


@pytest.mark.parametrize(
    ("user", "said", "key", "value"),
    [
        ("skip", word("alpha", 2.0), "unseen_people", 1.0),
        ("skip", word("alpha", 2.0), "seen_people", None),
        ("asterisk-en", word("alpha", 2.0), "seen_people", 1.0),
        ("asterisk-en", word("alpha", 2.0), "unseen_people", None),
        ("skip", word("bravo", 2.0), "unseen_people", 0.0),
        ("skip", word("bravo", 2.0), "unseen_people_onset_recall", 1.0),
        ("skip", word("alpha", 2.9), "unseen_people", 0.0),  # too late
        ("skip", word("alpha", 2.9), "unseen_people_right_word", 1.0),
    ],
)
def test_a_turn(
    script: HandMadeDialogue, user: str, said: SpokenWord, key: str, value: Any
) -> None:
    seen = observe(scene_of(script, user, said))
    assert measure([seen])[key] == value
    assert getattr(measure([seen])[key], "n_events", 0) == (0 if value is None else 1)


def test_baselines_meet_both_kinds_of_people(
    numbers_of: Callable[[str, int], Numbers], held_out: Callable[[str, int], list[HeldOutDialogue]]
) -> None:
    got = numbers_of("people", 16)
    for who in ("seen_people", "unseen_people"):
        assert got["oracle"][who] == 1.0
        assert got["silent"][who] == 0.0
        assert got["always"][who] <= 0.2  # type: ignore[operator]
    unseen = set(VoicesConfig().unseen)
    users = [sample.dialogue.users for sample in held_out("people", 16)]
    assert all(len(one) == 1 for one in users), "one person in each dialogue"
    people = set().union(*users)
    assert "asterisk-en" in people
    assert len(people & unseen) >= 2


def test_nobody_of_the_list_is_on_the_side_of_training_by_the_manifest_alone() -> None:
    sides = {u.speaker: u.split for u in Corpus.open() if u.source == "amazon-queen"}
    tests = {name for name, split in sides.items() if split == "test"}
    assert tests < set(VoicesConfig().unseen), "the list names them, and more"


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("people", 16)
