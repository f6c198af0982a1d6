"""The adversarial panel: who is in it, and that no suite of events gives it credit."""

from pathlib import Path
from typing import Any

import pytest

from microturn.evaluation.agents.panel import CONCERN, FAULTY, PANEL, TRIVIAL, of_concern, panel_of
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.events import score
from microturn.evaluation.suites.event_suites import SET, event_metrics, event_suites
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import known_suites, load_suite
from support.hand_made import word
from support.panel import played_by_all


def test_every_member_says_what_it_does() -> None:
    assert len(PANEL) == len(TRIVIAL) + len(FAULTY) >= 20
    assert all(member.__doc__ for member in PANEL.values())
    assert set(CONCERN) <= set(FAULTY)
    assert {suite for suites in CONCERN.values() for suite in suites} <= set(known_suites())


@pytest.mark.parametrize("name", known_suites())
def test_every_suite_states_a_line(name: str) -> None:
    assert 0.0 < load_suite(name).floor <= 0.4


@pytest.fixture(scope="module")
def samples(cache: Path) -> list[HeldOutDialogue]:
    return list(held_out_set(load_suite("turn"), cache, n_dialogues=16, workers=1).read())


def test_no_suite_of_events_gives_the_panel_credit(
    samples: list[HeldOutDialogue],
) -> None:
    metrics = event_metrics()
    suites = [suite for suite in event_suites().values() if suite.set_name == SET]
    found = {}
    for name, scenes in played_by_all(samples):
        outcomes = [score(scene) for scene in scenes]
        for suite in suites:
            observed = [metrics[suite.name].observation(one) for one in outcomes]
            credit = suite.measure(observed)[suite.headline]
            if name == "oracle":
                assert credit is None or credit == pytest.approx(1.0), suite.name
            elif of_concern(name, suite.name) and (credit or 0.0) >= suite.floor:
                found[name, suite.name] = credit
    assert not found


def test_a_set_without_people_is_played(script: Any) -> None:
    sample = script.sample()
    for agent in panel_of(tuple(PANEL), lambda: iter([sample])).values():
        (output,) = agent.perform([sample])
        assert output.duration_s == pytest.approx(sample.dialogue.duration_s)


def test_in_a_set_of_one_dialogue_no_answer_comes_from_its_own_place(script: Any) -> None:
    """The only dialogue is its own other: playing that is playing what is right."""
    for start_s, answer in ((0.5, "alpha"), (4.5, "bravo")):
        script.user.append(word("what", start_s))
        script.turn(start_s, start_s + 0.4, answer)
    sample = script.sample()
    for name in ("deaf", "another_answer"):
        (output,) = panel_of((name,), lambda: iter([sample]))[name].perform([sample])
        right = [(word.start_s, word.text) for word in sample.dialogue.agent_words]
        assert output.words
        assert not set(right) & {(word.start_s, word.text) for word in output.words}
        assert not output.heard
