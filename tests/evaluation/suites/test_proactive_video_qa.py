"""ProactiveVideoQA's twin: PAUC against vectors worked out by hand, and known agents."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.datagen.labels.dialogue import EventLabel, ExpectLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.proactive_video_qa import (
    Judged,
    judge,
    judged_replies,
    measure,
    observe,
    pauc,
)
from microturn.evaluation.suites.replies import TimedWord
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

REPLIES = st.lists(st.tuples(st.floats(0, 4), st.sampled_from([0.0, 1.0, 2.0])), max_size=5)
OMEGA = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@pytest.mark.parametrize(
    ("replies", "omega", "area"),
    [
        ([], 0.0, 0.25),
        ([], 0.5, 0.25),
        ([], 1.0, 0.25),
        ([(0.0, 2.0)], 0.5, 1.0),  # at once and right
        ([(0.0, 0.0)], 0.5, 0.0),  # at once and wrong: worse than silence
        ([(4.0, 2.0)], 0.0, 0.25),  # right at the very end
        ([(4.0, 2.0)], 0.5, 0.625),
        ([(4.0, 2.0)], 1.0, 1.0),
        ([(2.0, 2.0)], 0.0, 0.625),
        ([(2.0, 1.0)], 0.0, 0.375),  # half right
        # (1.0 * 0.5 + 1.0 * 1.0 + 2.0 * 2.0) / (4.0 * 2.0)
        ([(1.0, 1.0), (2.0, 2.0)], 0.0, 0.6875),
        # times halved: (0.5 * 0.5 + 0.5 * 1.0 + 3.0 * 2.0) / 8.0
        ([(1.0, 1.0), (2.0, 2.0)], 0.5, 0.84375),
        # a right answer that is spoilt: (1.0 * 0.5 + 1.0 * 2.0 + 2.0 * 1.0) / 8.0
        ([(1.0, 2.0), (2.0, 1.0)], 0.0, 0.5625),
        ([(2.0, 1.0), (1.0, 2.0)], 0.0, 0.5625),  # in any order
        ([(1.0, 2.0), (2.0, 1.0)], 1.0, 0.5),  # the last score alone
    ],
)
def test_pauc_of_known_replies(replies: list[Judged], omega: float, area: float) -> None:
    assert pauc(replies, 4.0, omega) == pytest.approx(area)


def test_a_span_without_length_is_worth_its_last_score() -> None:
    assert pauc([(0.0, 2.0)], 0.0, 0.5) == 1.0
    assert pauc([], 0.0, 0.5) == 0.25


@given(replies=REPLIES, omega=OMEGA)
def test_pauc_is_a_share(replies: list[Judged], omega: float) -> None:
    assert -1e-9 <= pauc(replies, 4.0, omega) <= 1.0 + 1e-9


@given(at=st.floats(0, 4), sooner=st.floats(0, 1), omega=OMEGA)
def test_a_right_answer_is_never_worth_less_for_being_sooner(
    at: float, sooner: float, omega: float
) -> None:
    late, early = (pauc([(t, 2.0)], 4.0, omega) for t in (at, at * sooner))
    assert early >= late - 1e-9


def test_the_judge_reads_words() -> None:
    assert judge(["seven"], ["seven"]) == 2.0
    assert judge(["six", "seven"], ["seven"]) == 1.0
    assert judge(["six"], ["seven"]) == 0.0
    assert judge([], ["seven"]) == 0.0


def test_what_is_repeated_is_no_new_reply() -> None:
    said = [
        TimedWord(text=text, onset_s=at)
        for text, at in [("six", 10.5), ("six", 11.0), ("seven", 12.0), ("seven", 12.5)]
    ]
    assert judged_replies(said, ["seven"], 10.0) == [(0.5, 0.0), (2.0, 1.0)]


@pytest.fixture
def question(script: HandMadeDialogue) -> HandMadeDialogue:
    """Asked from 1 to 2 s; the answer comes at 5.0, is there at 5.4 and gone at 8.4."""
    for event in (
        EventLabel(
            type="visual_question",
            start_s=1.0,
            end_s=2.0,
            speaker="user",
            expect=ExpectLabel(act="stay_silent", window_s=(2.0, 5.0)),
        ),
        EventLabel(
            type="visual_question",
            start_s=5.0,
            end_s=8.4,
            speaker="scene",
            expect=ExpectLabel(act="say", text="seven", window_s=(5.4, 6.9)),
        ),
    ):
        script.events.append(event)
    script.says("seven", 5.8)
    return script


@pytest.mark.parametrize(
    ("said", "areas", "right", "waited"),
    [
        ([], (0.25, 0.25, 0.25), False, True),
        ([("seven", 5.4)], (1.0, 1.0, 1.0), True, True),
        ([("seven", 6.9)], (0.625, 0.8125, 1.0), True, True),
        ([("eight", 5.4)], (0.0, 0.0, 0.0), False, True),
        ([("eight", 5.4), ("seven", 6.9)], (0.25, 0.375, 0.5), False, True),
        ([("seven", 3.0)], (0.25, 0.25, 0.25), False, False),  # before there was an answer
        ([("seven", 3.0), ("seven", 6.9)], (0.625, 0.8125, 1.0), True, False),
        ([("seven", 9.0)], (0.25, 0.25, 0.25), False, True),  # it is gone
    ],
)
def test_one_question(
    question: HandMadeDialogue,
    said: list[tuple[str, float]],
    areas: tuple[float, float, float],
    right: bool,
    waited: bool,
) -> None:
    spoken = [SpokenWord(text=text, start_s=at, end_s=at + 0.3) for text, at in said]
    facts = observe(question.scene(question.perform(*spoken)))
    numbers = measure([facts])
    found = tuple(numbers[name] for name in ("pauc_0", "pauc_50", "pauc_100"))
    assert found == pytest.approx(areas, abs=0.01)  # frames of 10 ms
    assert (facts["questions"][0]["right"], facts["questions"][0]["waited"]) == (right, waited)


def test_nothing_asked_is_nothing_measured(script: HandMadeDialogue) -> None:
    assert set(measure([observe(script.scene(script.perform()))]).values()) == {None}


def test_agents_score_what_theory_says(numbers_of: Callable[..., dict[str, Measured]]) -> None:
    numbers = numbers_of("proactive_video_qa", 6)
    oracle, silent, always = (numbers[name] for name in ("oracle", "silent", "always"))
    areas = ("pauc_0", "pauc_50", "pauc_100")
    assert [silent[name] for name in areas] == pytest.approx([0.25] * 3)
    assert silent["waited"] == 1.0
    assert (oracle["pauc_100"], oracle["right"], oracle["waited"]) == (1.0, 1.0, 1.0)
    # Between two and four tenths of a second of 1.5 to 2.5 are lost, half of them at omega 0.5.
    assert 1.0 - 0.75 * 0.4 / 1.5 <= (oracle["pauc_0"] or 0.0) <= 1.0 - 0.75 * 0.2 / 2.5
    assert oracle["pauc_50"] == pytest.approx((1.0 + (oracle["pauc_0"] or 0.0)) / 2)
    # Who talks all the time is wrong all the time, but for questions that its one word answers.
    assert (always["pauc_50"] or 0.0) <= 0.02 + (always["right"] or 0.0)
    assert always["waited"] == 0.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("proactive_video_qa", 6)
