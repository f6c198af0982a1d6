"""Timing statistics of hand-made conversations, and of the recorded agent against itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.evaluation.scoring.timing import (
    Timing,
    add_dialogue,
    both,
    offsets,
    silences,
    wasserstein,
)
from support.hand_made import HandMadeDialogue

USER = [(1.0, 2.0), (2.5, 3.0), (7.0, 8.0)]
AGENT = [(3.4, 5.0), (5.5, 6.0), (7.8, 9.0)]


def test_silences_are_pauses_where_the_same_speaker_goes_on() -> None:
    pauses, gaps = silences(USER, AGENT)
    assert pauses == [(2.0, 2.5), (5.0, 5.5)]
    assert gaps == [(3.0, 3.4), (6.0, 7.0)]


def test_overlaps_and_offsets() -> None:
    assert both(USER, AGENT) == [(7.8, 8.0)]
    assert offsets(USER, AGENT) == pytest.approx([0.4, 1.0, -0.2])


def test_speech_inside_the_others_is_no_turn() -> None:
    agent, backchannel = [(1.0, 5.0)], [(2.0, 2.4)]
    assert offsets(backchannel, agent) == []
    assert offsets([*backchannel, (5.3, 6.0)], agent) == pytest.approx([0.3])


def test_rates_are_pooled_over_dialogues() -> None:
    timing = Timing()
    timing.add(USER, AGENT, 30.0)
    timing.add([(0.0, 1.0), (1.1, 2.0)], [], 30.0)  # one unit: the silence is below 200 ms
    report = timing.to_json()
    assert report["minutes"] == pytest.approx(1.0)
    assert report["kinds"]["user_ipu"]["per_min"] == pytest.approx(4.0)
    assert report["kinds"]["user_ipu"]["seconds_per_min"] == pytest.approx(4.5)
    assert report["kinds"]["overlap"]["seconds_per_min"] == pytest.approx(0.2)
    assert report["offset_median_s"] == pytest.approx(0.4)


def test_nothing_is_measured_in_nothing() -> None:
    report = Timing().to_json(Timing())
    assert report["offset_median_s"] is None
    assert report["kinds"]["gap"] == {
        "per_min": None,
        "seconds_per_min": None,
        "median_s": None,
        "distance_s": None,
    }


def test_the_distance_is_how_far_durations_have_to_move() -> None:
    assert wasserstein([1.0, 2.0], [1.5, 2.5]) == pytest.approx(0.5)
    assert wasserstein([1.0], []) is None


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.05, 3)), max_size=8),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.05, 3)), max_size=8),
)
def test_all_time_between_first_and_last_speech_is_accounted_for(
    user: list[tuple[float, float]], agent: list[tuple[float, float]]
) -> None:
    timing = Timing()
    spans = [[(start, start + length) for start, length in one] for one in (user, agent)]
    timing.add(spans[0], spans[1], 60.0)
    sums = {kind: sum(found) for kind, found in timing.durations.items()}
    edges = [edge for one in spans for span in one for edge in span]
    if not edges:
        assert sum(sums.values()) == 0
        return
    spoken = sums["user_ipu"] + sums["agent_ipu"] - sums["overlap"]
    assert spoken + sums["pause"] + sums["gap"] == pytest.approx(max(edges) - min(edges), abs=1e-3)


def test_a_late_agent_has_later_offsets(script: HandMadeDialogue) -> None:
    from dataclasses import replace

    script.user = [replace(word, end_s=word.start_s + 0.3) for word in script.user]
    script.turn(1.0, 1.6, "five", reply_s=0.3)
    script.turn(5.0, 5.6, "six", reply_s=0.3)
    for start_s in (1.0, 5.0):
        script.user.append(type(script.agent[0])(text="x", start_s=start_s, end_s=start_s + 0.6))
    early, late = Timing(), Timing()
    add_dialogue(early, script.scene(script.recorded()))
    moved = [replace(w, start_s=w.start_s + 1, end_s=w.end_s + 1) for w in script.agent]
    add_dialogue(late, script.scene(script.perform(*moved)))
    found = late.to_json(early)
    assert early.to_json()["offset_median_s"] < 0.4
    assert found["offset_median_s"] - early.to_json()["offset_median_s"] == pytest.approx(1.0)
    assert found["kinds"]["gap"]["distance_s"] > 0
