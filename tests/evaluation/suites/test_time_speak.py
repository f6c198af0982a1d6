"""TimeSpeak's twin: hand-made timelines, and agents of which everything is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.agents.baselines import Oracle
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.suite import Measured, Observations
from microturn.evaluation.suites.time_speak import measure, observe, requests_of, timed_f1
from support.hand_made import HandMadeDialogue


def word(text: str, start_s: float) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + 0.36)


def due(script: HandMadeDialogue, at_s: float, *, asked: tuple[float, float] | None = None) -> None:
    """`monday` is due; `asked`: when it was asked for, None: as before."""
    start_s, end_s = asked or (at_s, at_s)
    script.event(
        "timed_cue", start_s, end_s, "say", answer="monday", window=(at_s - 0.2, at_s + 1.0)
    )
    script.says("monday", at_s + 0.1)


def stop(script: HandMadeDialogue, start_s: float, end_s: float, until_s: float) -> None:
    script.event("timed_cue", start_s, end_s, "stay_silent", window=(end_s, until_s))


def repeating(script: HandMadeDialogue) -> None:
    """Every three seconds from 2.0 on, until 9.2."""
    due(script, 5.0, asked=(1.0, 2.0))
    due(script, 8.0)
    stop(script, 8.8, 9.2, 12.5)


def test_requests_are_put_together(script: HandMadeDialogue) -> None:
    due(script, 3.0, asked=(0.5, 1.0))
    due(script, 7.0, asked=(4.5, 5.0))
    due(script, 9.0)
    stop(script, 10.0, 10.5, 12.0)
    due(script, 14.0, asked=(12.5, 13.0))
    found = requests_of(script.dialogue().of_type("timed_cue"))
    assert [(len(request.due), request.stop is not None) for request in found] == [
        (1, False),
        (2, True),
        (1, False),
    ]


def test_nothing_asked_is_nothing_measured(script: HandMadeDialogue) -> None:
    stop(script, 3.0, 4.0, 6.0)  # belongs to no request
    facts = observe(script.scene(script.perform()))
    assert facts == {"times": [], "stops": [], "utterances": 0}
    assert set(measure([facts]).values()) == {None}
    assert set(measure([]).values()) == {None}


@pytest.mark.parametrize(
    ("said", "credit", "right"),
    [
        ([], False, False),
        ([("monday", 5.1)], True, True),
        ([("monday", 4.82)], True, True),  # up to 0.2 s early
        ([("monday", 4.7)], False, True),  # before its time
        ([("monday", 2.3)], False, True),  # at once
        ([("monday", 6.0)], True, True),  # up to 1.0 s late
        ([("monday", 6.2)], False, True),
        ([("tuesday", 5.1)], False, False),
        ([("monday", 2.3), ("monday", 5.1)], False, True),  # what is said first counts
        ([("monday", 5.1), ("monday", 5.6)], False, False),  # once is enough
    ],
)
def test_once(
    script: HandMadeDialogue, said: list[tuple[str, float]], credit: bool, right: bool
) -> None:
    due(script, 5.0, asked=(1.0, 2.0))
    facts = observe(script.scene(script.perform(*(word(*one) for one in said))))
    assert [(item["credit"], item["right"]) for item in facts["times"]] == [(credit, right)]
    assert facts["times"][0]["kind"] == "single"
    assert measure([facts])["macro_accuracy"] == float(credit)


def test_text_without_sound_says_nothing(script: HandMadeDialogue) -> None:
    due(script, 5.0, asked=(1.0, 2.0))
    performance = script.perform()
    silent = type(performance)(
        audio=performance.audio, sample_rate=performance.sample_rate, words=(word("monday", 5.1),)
    )
    assert measure([observe(script.scene(silent))])["single"] == 0.0


@pytest.mark.parametrize(
    ("said", "periodic", "until_stopped"),
    [
        ([5.1, 8.1], 1.0, 1.0),
        ([5.1], 0.5, 0.0),  # forgot the second, so its silence is no merit
        ([8.1], 0.5, 1.0),
        ([], 0.0, 0.0),
        ([5.1, 8.1, 11.1], 1.0, 0.0),  # was told to stop
        ([5.1, 8.1, 14.1], 1.0, 1.0),  # beyond what is looked at
    ],
)
def test_again_and_again(
    script: HandMadeDialogue, said: list[float], periodic: float, until_stopped: float
) -> None:
    repeating(script)
    numbers = measure([observe(script.scene(script.perform(*(word("monday", t) for t in said))))])
    assert (numbers["single"], numbers["periodic"], numbers["until_stopped"]) == (
        None,
        periodic,
        until_stopped,
    )
    assert numbers["macro_accuracy"] == (periodic + until_stopped) / 2


def test_kinds_weigh_the_same(script: HandMadeDialogue) -> None:
    repeating(script)
    missed = observe(script.scene(script.perform()))
    hit: Observations = {
        "times": [{"kind": "single", "right": True, "credit": True, "off_s": 0.1, "clean": True}],
        "stops": [],
        "utterances": 1,
    }
    assert measure([missed, *[hit] * 7])["macro_accuracy"] == pytest.approx(1 / 3)


def test_timed_f1_of_known_replies() -> None:
    assert timed_f1([], 0, 0) is None
    assert timed_f1([], 0, 3) == 0.0
    assert timed_f1([], 9, 3) == 0.0
    assert timed_f1([0.0, 0.0], 2, 2) == 1.0
    assert timed_f1([0.5], 1, 1) == 0.5  # half a second of one
    assert timed_f1([-0.5], 1, 1) == 0.5  # too early is as bad
    assert timed_f1([1.7], 1, 1) == 0.0
    assert timed_f1([0.0], 3, 1) == pytest.approx(2 * (1 / 3) / (4 / 3))  # two more were said
    assert timed_f1([0.0], 1, 3) == pytest.approx(2 * (1 / 3) / (4 / 3))  # two were missed


@given(
    offsets=st.lists(st.floats(-3, 3), max_size=6), more=st.integers(0, 5), missed=st.integers(0, 5)
)
def test_timed_f1_is_a_share_and_chatter_never_helps(
    offsets: list[float], more: int, missed: int
) -> None:
    due_n = len(offsets) + missed
    value = timed_f1(offsets, len(offsets) + more, due_n)
    if value is not None:
        assert 0.0 <= value <= 1.0 + 1e-9
        assert (timed_f1(offsets, len(offsets) + more + 1, due_n) or 0.0) <= value


def test_agents_score_what_theory_says(numbers_of: Callable[..., dict[str, Measured]]) -> None:
    numbers = numbers_of("time_speak", 24)
    kinds = ("macro_accuracy", "single", "periodic", "until_stopped")
    assert [numbers["oracle"][name] for name in kinds] == [1.0] * 4
    assert [numbers["silent"][name] for name in kinds] == [0.0] * 4
    assert [numbers["always"][name] for name in kinds] == [0.0] * 4
    # Words begin on micro-turns of 0.2 s, so they are between 0 and 0.2 s late.
    assert 0.0 <= (numbers["oracle"]["off_s"] or -1.0) <= 0.2 + 0.05
    assert 0.75 <= (numbers["oracle"]["timed_f1"] or 0.0) <= 1.0


def test_an_event_is_not_changed_by_scoring(script: HandMadeDialogue) -> None:
    repeating(script)
    before: tuple[EventLabel, ...] = script.dialogue().events
    observe(script.scene(script.recorded()))
    assert script.dialogue().events == before


@pytest.mark.parametrize(
    "name",
    ["time_speak", "cue_speak", "rep_count", "proactive_video_qa", "charades", "translation"],
)
def test_facts_survive_json_and_their_order_does_not_matter(
    name: str, held_out: Callable[[str, int], list[HeldOutDialogue]], observe_suite: Any
) -> None:
    suite = load_suite(name)
    facts = observe_suite(suite, Oracle(), held_out(name, 3))
    assert json.loads(json.dumps(facts)) == facts
    assert suite.measure(facts[::-1]) == suite.measure(facts)
    assert set(suite.measure(facts)) == set(suite.meanings)


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("time_speak", 24)
