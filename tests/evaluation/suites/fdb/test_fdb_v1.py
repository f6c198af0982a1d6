"""Full-Duplex-Bench v1's twin: hand-made timelines, and agents of which everything is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.fdb.v1 import chunks_of, measure, observe
from microturn.evaluation.suites.fdb.v1_formulas import MAX_JSD
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

Numbers = dict[str, Measured]


def word(text: str, start_s: float, length_s: float = 0.36) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def count(start_s: float, first: int = 0) -> list[SpokenWord]:
    """Five words, two seconds."""
    names = ["five", "six", "seven", "eight", "nine"]
    return [word(text, start_s + 0.4 * i) for i, text in enumerate(names[first:])]


@pytest.fixture
def asked(script: HandMadeDialogue) -> HandMadeDialogue:
    """A turn with a pause from 1.5 to 2.1 that ends at 2.5; the recorded answer has five words."""
    script.event("pause", 1.5, 2.1, "stay_silent", window=(1.5, 2.1))
    script.turn(1.0, 2.5, "five six seven eight nine")
    return script


def numbers(scene: Any) -> Measured:
    return measure([observe(scene)])


@pytest.mark.parametrize(
    ("said", "pause_tor", "turn_tor", "latency_s", "handled"),
    [
        ([], 0.0, 0.0, None, 0.0),  # no reply
        (count(2.8), 0.0, 1.0, 0.3, 1.0),
        (count(3.8), 0.0, 1.0, 1.3, 0.5),  # late: a turn all the same, the pause was respected
        ([word("hm", 1.6), *count(2.8)], 0.0, 1.0, 0.0, 0.0),  # a short word in the pause
        (count(1.6), 1.0, 1.0, 0.0, 0.0),  # takes the turn in the pause
        ([word("five", 2.8)], 0.0, 0.0, None, 0.0),  # one short word takes no turn
        ([*count(2.8), *count(8.0)], 0.0, 1.0, 0.3, 1.0),  # two replies: the first counts
        (count(12.0), 0.0, 1.0, 9.5, 0.5),  # an hour later it would still be a turn
    ],
)
def test_a_turn_with_a_pause(
    asked: HandMadeDialogue,
    said: list[SpokenWord],
    pause_tor: float,
    turn_tor: float,
    latency_s: float | None,
    handled: float,
) -> None:
    got = numbers(asked.scene(asked.perform(*said)))
    assert (got["pause_tor"], got["turn_tor"], got["handled"]) == (pause_tor, turn_tor, handled)
    assert got["turn_latency_s"] == (
        None if latency_s is None else pytest.approx(latency_s, abs=0.02)
    )
    assert got["interruption_tor"] is None
    assert got["backchannel_tor"] is None


@pytest.fixture
def interrupted(script: HandMadeDialogue) -> HandMadeDialogue:
    """The agent counts from 2.0; the user speaks from 3.0 to 4.2 and is answered with a count."""
    script.turn(1.0, 1.7, "one two three four five six seven eight nine", reply_s=0.3)
    script.interrupt(3.0, 4.2)
    script.turn(3.0, 4.2, "five six seven eight nine")
    return script


@pytest.mark.parametrize(
    ("said", "tor", "latency_s", "right", "handled"),
    [
        ([], 0.0, None, None, 0.0),
        (count(4.5), 1.0, 0.3, 1.0, 1.0),
        (count(4.5, first=1), 1.0, 0.3, 0.0, 0.0),  # answers something else
        ([word(f"w{i}", 2.0 + 0.4 * i) for i in range(20)], 1.0, 0.0, 0.0, 0.0),  # never stops
        (count(5.5), 1.0, 1.3, 1.0, 0.0),  # too late to be handled
    ],
)
def test_an_interruption_is_scored_on_what_follows_it(
    interrupted: HandMadeDialogue,
    said: list[SpokenWord],
    tor: float,
    latency_s: float | None,
    right: float | None,
    handled: float,
) -> None:
    before = [word(text, 2.0 + 0.4 * i) for i, text in enumerate(["one", "two", "three"])]
    spoken = said if said[:1] == [word("w0", 2.0)] else [*before, *said]
    got = numbers(interrupted.scene(interrupted.perform(*spoken)))
    assert (got["interruption_tor"], got["interruption_right"], got["handled"]) == (
        tor,
        right,
        handled,
    )
    wanted = None if latency_s is None else pytest.approx(latency_s, abs=0.02)
    assert got["interruption_original_latency_s"] == wanted
    # Who talks on is not fast: only a right answer has a latency.
    assert got["interruption_latency_s"] == (wanted if right else None)


@pytest.fixture
def dictated(script: HandMadeDialogue) -> HandMadeDialogue:
    """Listening points at 3.0 and 5.0, the end of the dictation at 8.0."""
    for at in (3.0, 5.0):
        script.event(
            "agent_backchannel", at, at + 0.8, "backchannel", answer="oh", window=(at, at + 1)
        )
        script.says("oh", at + 0.3)
    script.turn(7.5, 8.0, "saved")
    return script


@pytest.mark.parametrize(
    ("said", "tor", "per_min", "jsd", "handled"),
    [
        ([], 0.0, 0.0, 1.0, 0.0),
        ([word("oh", 3.3), word("oh", 5.3)], 0.0, 15.0, 0.0, 1.0),
        ([word("oh", 3.3), word("oh", 5.3), word("saved", 8.3)], 0.0, 15.0, 0.0, 1.0),
        ([word("oh", 6.3)], 0.0, 7.5, MAX_JSD, 0.0),  # between the points
        ([word("oh", 3.3), *count(5.3)], 1.0, 15.0, None, 0.0),  # two seconds of words: a turn
        ([*count(1.0), word("oh", 5.3)], 0.0, 15.0, None, 0.0),  # the last segment decides the TOR
        ([word(f"w{i}", 0.4 * i, 0.4) for i in range(30)], 1.0, 0.0, 1.0, 0.0),  # more than 3 s
    ],
)
def test_backchannels(
    dictated: HandMadeDialogue,
    said: list[SpokenWord],
    tor: float,
    per_min: float,
    jsd: float | None,
    handled: float,
) -> None:
    got = numbers(dictated.scene(dictated.perform(*said)))
    assert (got["backchannel_tor"], got["handled"]) == (tor, handled)
    assert got["backchannel_per_min"] == pytest.approx(per_min)
    if jsd is not None:
        assert got["backchannel_jsd"] == pytest.approx(jsd, abs=0.05)


def test_words_end_where_their_sound_does(asked: HandMadeDialogue) -> None:
    """A lane says when words begin only; 0.36 s of sound are 0.36 s whatever it says."""
    scene = asked.scene(asked.perform(*count(2.8)))
    chunks = chunks_of(scene)
    assert [round(chunk.start_s, 1) for chunk in chunks] == [2.8, 3.2, 3.6, 4.0, 4.4]
    assert all(0.3 < (chunk.end_s or 0.0) - chunk.start_s <= 0.41 for chunk in chunks)


def test_nothing_at_all() -> None:
    got = measure([])
    assert set(got.values()) == {None}


def test_baselines_score_what_theory_says(numbers_of: Callable[[str, int], Numbers]) -> None:
    got = numbers_of("fdb_v1", 12)
    assert got["oracle"]["handled"] == 1.0
    assert got["oracle"]["pause_tor"] == got["oracle"]["backchannel_tor"] == 0.0
    assert got["oracle"]["turn_tor"] == got["oracle"]["interruption_tor"] == 1.0
    assert 0.2 <= (got["oracle"]["turn_latency_s"] or 0.0) <= 0.45
    assert got["oracle"]["backchannel_jsd"] == pytest.approx(0.0, abs=0.2)
    silent, always = got["silent"], got["always"]
    assert silent["handled"] == always["handled"] == 0.0
    for task in ("pause", "turn", "interruption", "backchannel"):
        assert (silent[f"{task}_tor"], always[f"{task}_tor"]) == (0.0, 1.0), task
    assert silent["turn_latency_s"] is None
    assert always["turn_latency_s"] == 0.0
    assert silent["backchannel_jsd"] == always["backchannel_jsd"] == 1.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("fdb_v1", 12)
