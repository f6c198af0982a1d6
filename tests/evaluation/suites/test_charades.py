"""Charades-STA's twin: intersection over union, hand-made actions, and known agents."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.datagen.labels.dialogue import EventLabel, ExpectLabel
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.suites.charades import measure, observe, temporal_iou
from microturn.evaluation.suites.suite import Measured
from support.hand_made import HandMadeDialogue

SPANS = st.tuples(st.floats(0, 9), st.floats(0, 9)).map(lambda span: (min(span), max(span)))


@pytest.mark.parametrize(
    ("said", "true", "iou"),
    [
        ((2.0, 6.0), (2.0, 6.0), 1.0),
        ((4.0, 8.0), (2.0, 6.0), 2.0 / 6.0),
        ((3.0, 5.0), (2.0, 6.0), 0.5),
        ((6.0, 8.0), (2.0, 6.0), 0.0),  # they touch
        ((7.0, 8.0), (2.0, 6.0), 0.0),
        ((6.0, 2.0), (2.0, 6.0), 0.0),  # stop before start
        ((3.0, 3.0), (3.0, 3.0), 0.0),  # no length at all
    ],
)
def test_iou_of_known_spans(
    said: tuple[float, float], true: tuple[float, float], iou: float
) -> None:
    assert temporal_iou(said, true) == pytest.approx(iou)


@given(a=SPANS, b=SPANS)
def test_iou_is_symmetric_and_a_share(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert temporal_iou(a, b) == temporal_iou(b, a)
    assert 0.0 <= temporal_iou(a, b) <= 1.0
    if a[1] > a[0]:
        assert temporal_iou(a, a) == 1.0


@pytest.fixture
def action(script: HandMadeDialogue) -> HandMadeDialogue:
    """Asked from 1 to 2 s; waving from 4 to 8 s."""
    for start_s, end_s, speaker, act, text, window in (
        (1.0, 2.0, "user", "stay_silent", "", (2.0, 4.0)),
        (4.0, 8.0, "scene", "say", "playback", (4.0, 5.5)),
        (4.0, 8.0, "scene", "say", "pause", (8.0, 9.5)),
        (9.6, 10.6, "scene", "stay_silent", "", (9.6, 10.6)),
    ):
        event = EventLabel(
            type="visual_span",
            start_s=start_s,
            end_s=end_s,
            speaker=speaker,
            expect=ExpectLabel(act=act, text=text, window_s=window),
        )
        script.events.append(event)
    script.says("playback", 4.5)
    script.says("pause", 8.5)
    return script


@pytest.mark.parametrize(
    ("said", "iou", "in_time"),
    [
        ([("playback", 4.0), ("pause", 8.0)], 1.0, 1.0),
        ([("playback", 4.5), ("pause", 8.5)], 3.5 / 4.5, 1.0),
        ([("playback", 6.0), ("pause", 8.0)], 0.5, 0.5),
        ([("playback", 4.5)], 0.0, 0.5),  # never ends
        ([("pause", 8.0)], 0.0, 0.5),
        ([("pause", 4.0), ("playback", 8.0)], 0.0, 0.0),
        ([("pause", 3.0), ("playback", 4.0), ("pause", 8.0)], 1.0, 1.0),
        ([("playback", 3.0), ("playback", 4.0), ("pause", 8.0)], 0.8, 1.0),  # the first counts
        ([("playback", 2.2), ("pause", 3.0)], 0.0, 0.0),  # both before it happened
        ([("playback", 9.0), ("pause", 12.0)], 0.0, 0.0),
        ([], 0.0, 0.0),
    ],
)
def test_one_action(
    action: HandMadeDialogue, said: list[tuple[str, float]], iou: float, in_time: float
) -> None:
    spoken = [SpokenWord(text=text, start_s=at, end_s=at + 0.3) for text, at in said]
    numbers = measure([observe(action.scene(action.perform(*spoken)))])
    assert numbers["miou"] == pytest.approx(iou, abs=0.01)  # frames of 10 ms
    assert numbers["in_time"] == in_time


def test_recall_counts_spans_above_a_level() -> None:
    spans = [
        {"iou": iou, "in_time": 0, "start_s": None, "stop_s": None} for iou in (0.1, 0.3, 0.5, 0.9)
    ]
    numbers = measure([{"spans": spans[:1]}, {"spans": spans[1:]}])
    assert (numbers["r1_iou_30"], numbers["r1_iou_50"], numbers["r1_iou_70"]) == (0.75, 0.5, 0.25)
    assert numbers["miou"] == pytest.approx(0.45)
    assert numbers["start_off_s"] is None


def test_nothing_asked_is_nothing_measured(script: HandMadeDialogue) -> None:
    assert set(measure([observe(script.scene(script.perform()))]).values()) == {None}


def test_agents_score_what_theory_says(numbers_of: Callable[..., dict[str, Measured]]) -> None:
    numbers = numbers_of("charades", 6)
    oracle, silent, always = (numbers[name] for name in ("oracle", "silent", "always"))
    assert (oracle["r1_iou_50"], oracle["in_time"]) == (1.0, 1.0)
    # 0.4 to 0.6 s late at both ends of 3 to 9 s.
    assert (3.0 - 0.6) / (3.0 + 0.6) <= (oracle["miou"] or 0.0) <= (9.0 - 0.4) / (9.0 + 0.4)
    for name in ("r1_iou_30", "r1_iou_50", "r1_iou_70", "miou"):
        assert silent[name] == always[name] == 0.0


def test_the_panel_stays_below_the_line(below_the_line: Callable[[str, int], None]) -> None:
    below_the_line("charades", 6)
