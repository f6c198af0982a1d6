"""Full-Duplex-Bench v1.5's twin: what an agent does that is talked into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.fdb.v1_5 import measure, observe
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]
COUNT = ["three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def counted(*, until: str = "ten", start_s: float = 2.0) -> list[SpokenWord]:
    n = COUNT.index(until) + 1
    return [word(text, start_s + 0.4 * i) for i, text in enumerate(COUNT[:n])]


@pytest.fixture
def interrupted(script: HandMadeDialogue) -> HandMadeDialogue:
    """Three is said at 2.0, five at 2.8; the user speaks from 3.0 to 4.0: `monday`."""
    script.user += [word("from", 1.0, 0.3), word("three", 1.4, 0.3)]
    script.turn(1.0, 1.7, " ".join(COUNT), reply_s=0.3)
    script.user += [word("sunday", 3.0, 0.5), word("tomorrow", 3.5, 0.5)]
    script.interrupt(3.0, 4.0)
    script.turn(3.0, 4.0, "monday")
    return script


def scene_of(script: HandMadeDialogue, *said: SpokenWord) -> ScoredDialogue:
    scene: ScoredDialogue = script.scene(script.perform(*said))
    answers = list(scene.dialogue.of_type("turn"))[1:]
    words = [*COUNT, *(text for event in answers for text in event.expected)]
    intended = tuple(word(text, 0.0) for text in words)
    return ScoredDialogue(
        replace(scene.dialogue, intended_words=intended), scene.trace, scene.windows
    )


@pytest.mark.parametrize(
    ("said", "behaviour", "stop_s", "reply_s"),
    [
        ([], "C_UNKNOWN", None, None),
        ([*counted(until="six"), word("monday", 4.3)], "C_RESPOND", 0.56, 0.3),
        ([*counted(), word("monday", 6.5)], "C_RESUME", 1.0, 2.5),  # talks on, answers later
        (counted(), "C_RESUME", 1.0, None),
        (counted(until="six"), "C_UNKNOWN", 0.56, None),  # stops and says nothing
        ([*counted(until="six"), word("friday", 4.3)], "C_UNKNOWN", 0.56, 0.3),
        ([*counted(until="six"), word("pardon", 4.3)], "C_UNKNOWN", 0.56, 0.3),
        ([*counted(until="five"), word("pardon", 4.3)], "C_UNCERTAIN_HANDLING", 0.16, 0.3),
        # A reply into the interruption: the response latency looks for an onset after its end.
        ([*counted(until="five"), word("monday", 3.6)], "C_RESPOND", 0.96, None),
    ],
)
def test_an_interruption(
    interrupted: HandMadeDialogue,
    said: list[SpokenWord],
    behaviour: str,
    stop_s: float | None,
    reply_s: float | None,
) -> None:
    (facts,) = observe(scene_of(interrupted, *said))["overlaps"]
    assert facts["behaviour"] == behaviour
    assert facts["speaking"] is bool(said)
    for key, wanted in (("stop_s", stop_s), ("reply_s", reply_s)):
        assert facts[key] == (None if wanted is None else pytest.approx(wanted, abs=0.03)), key


@pytest.mark.parametrize("kind", ["user_backchannel", "side_talk", "background_speech"])
@pytest.mark.parametrize(
    ("said", "behaviour"),
    [
        (counted(), "C_RESUME"),
        (counted(until="nine"), "C_RESUME"),  # a word short
        (counted(until="five"), "C_UNKNOWN"),  # fell silent
        ([*counted(until="five"), *counted(start_s=4.5)], "C_UNKNOWN"),  # begins again
        ([word(COUNT[i % 8], 0.4 * i) for i in range(39)], "C_UNKNOWN"),  # never stops
    ],
)
def test_what_should_change_nothing(
    script: HandMadeDialogue, kind: str, said: list[SpokenWord], behaviour: str
) -> None:
    script.turn(1.0, 1.7, " ".join(COUNT), reply_s=0.3)
    script.event(kind, 3.0, 3.6, "resume", window=(3.0, 4.6))
    (facts,) = observe(scene_of(script, *said))["overlaps"]
    assert facts["behaviour"] == behaviour


def test_nothing_at_all() -> None:
    assert set(measure([]).values()) == {None}
    assert set(measure([{"overlaps": []}]).values()) == {None}


def test_baselines_score_what_theory_says(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("fdb_v1_5", 16)
    assert got["oracle"]["as_wanted"] == 1.0
    assert got["oracle"]["speaking"] == 1.0  # every overlap is placed while the agent speaks
    assert (got["oracle"]["stop_latency_s"] or 9.0) < 0.7
    for agent in ("silent", "always"):
        assert (got[agent]["as_wanted"] or 0.0) < 0.1  # a word of a loop may be the right one
        assert (got[agent]["unknown"] or 0.0) > 0.9
    assert got["silent"]["stop_latency_s"] is got["silent"]["response_latency_s"] is None
    assert (got["always"]["stop_latency_s"] or 0.0) > 1.0  # as long as the user speaks


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("fdb_v1_5", 16)
