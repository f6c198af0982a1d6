"""Full-Duplex-Bench v3's twin: which tool, with what, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.agent_output import Delivery, SpokenWord
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.fdb.v3 import call_of, measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


HEARD = (word("eight", 1.0), word("plus", 1.4), word("three", 1.8))


@pytest.fixture
def asked(script: HandMadeDialogue) -> HandMadeDialogue:
    """`eight plus three` ends at 2.2; the result is there at 4.0 and said at 4.4."""
    script.delegation(1.0, 2.2, arrives_s=4.0, result="eleven")
    script.user += list(HEARD)
    script.events = [
        replace(event, text="eight plus three") if event.act == "delegate" else event
        for event in script.events
    ]
    return script


def facts_of(script: HandMadeDialogue, **more: Any) -> dict[str, Any]:
    words = more.pop("words", tuple(script.agent))
    scene: ScoredDialogue = script.scene(script.perform(*words, **more))
    return observe(scene)


ARRIVED = (Delivery(time_s=4.0, scripted_s=4.0, text="<bg> eleven </bg>"),)


def test_the_recorded_agent_passes(asked: HandMadeDialogue) -> None:
    facts = facts_of(asked, delegates_s=(2.4,), deliveries=ARRIVED, heard=HEARD)
    assert facts["expected"] == facts["actual"] == [["calculator", {"request": "8 + 3"}]]
    got = measure([facts])
    assert (got["pass_at_1"], got["tool_f1"], got["argument_accuracy"]) == (1.0, 1.0, 1.0)
    assert got["first_response_latency_s"] == pytest.approx(0.2, abs=0.02)
    assert got["tool_call_latency_s"] == pytest.approx(0.2)
    assert got["completion_latency_s"] == pytest.approx(2.2, abs=0.02)
    assert got["result_told"] == 1.0


@pytest.mark.parametrize(
    ("heard", "delegates", "f1", "arguments"),
    [
        ((), (2.4,), 0.0, 0.0),  # understood nothing: a call for nothing
        ((word("eight", 1.0), word("minus", 1.4), word("three", 1.8)), (2.4,), 1.0, 0.0),
        ((word("time", 1.0),), (2.4,), 0.0, 0.0),  # the wrong tool
        (HEARD, (), 0.0, 0.0),  # never delegates
        (HEARD, (2.4, 6.0), 2 / 3, 1.0),  # once too often
        (HEARD, (1.3,), 0.0, 0.0),  # before it has heard the request
        (None, (2.4,), 0.0, 0.0),  # does not write down what it hears
    ],
)
def test_calls_that_fail(
    asked: HandMadeDialogue,
    heard: tuple[SpokenWord, ...] | None,
    delegates: tuple[float, ...],
    f1: float,
    arguments: float,
) -> None:
    got = measure([facts_of(asked, delegates_s=delegates, heard=heard)])
    assert got["pass_at_1"] == 0.0
    assert got["tool_f1"] == pytest.approx(f1)
    assert got["argument_accuracy"] == pytest.approx(arguments)


def test_a_result_counts_only_after_it_has_arrived(asked: HandMadeDialogue) -> None:
    guess = (word("one", 2.4), word("moment", 2.8), word("eleven", 3.4))
    early = facts_of(asked, words=guess, delegates_s=(2.4,), deliveries=ARRIVED, heard=HEARD)
    assert measure([early])["result_told"] == 0.0
    never = facts_of(asked, delegates_s=(2.4,), heard=HEARD)
    assert measure([never])["result_told"] == 0.0


def test_speaking_into_the_request_is_an_interruption_and_has_no_latency(
    asked: HandMadeDialogue,
) -> None:
    got = measure([facts_of(asked, words=(word("yes", 1.5),), heard=HEARD)])
    assert (got["interrupted"], got["turn_taken"]) == (1.0, 1.0)
    assert got["first_response_latency_s"] is None


def test_a_request_that_is_called_off_has_no_result(asked: HandMadeDialogue) -> None:
    asked.events = [event for event in asked.events if event.type != "result"]
    got = measure([facts_of(asked, delegates_s=(2.4,), heard=HEARD)])
    assert got["result_told"] is None
    assert got["pass_at_1"] == 1.0


def test_nothing_at_all() -> None:
    assert set(measure([]).values()) == {None}
    assert call_of(["good", "morning"]).function == "none"
    assert EventLabel(type="turn", start_s=0.0, end_s=1.0).act == ""


def test_baselines_score_what_theory_says(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("fdb_v3", 6)
    oracle = got["oracle"]
    assert oracle["pass_at_1"] == oracle["tool_f1"] == oracle["result_told"] == 1.0
    assert oracle["interrupted"] == 0.0
    for agent in ("silent", "always"):
        assert got[agent]["pass_at_1"] == got[agent]["tool_f1"] == got[agent]["result_told"] == 0.0
    assert got["always"]["interrupted"] == 1.0
    assert got["silent"]["turn_taken"] == 0.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("fdb_v3", 6)
