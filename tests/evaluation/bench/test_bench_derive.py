"""Derived events agree with exact labels, and what does not agree is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel, ExpectLabel
from microturn.datagen.labels.setting import ChannelLabel, RoomLabel
from microturn.evaluation.bench.derived import bench
from microturn.evaluation.bench.derived.agreement import Agreement, agreement


@pytest.mark.slow  # renders dialogues
def test_events_of_conversations_reach_the_goals_by_the_times_of_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SETS", {name: bench.SETS[name] for name in ("human",)})
    out = tmp_path / "derive.json"
    assert main(["bench", "derive", "n_dialogues=3", f"json={out}"]) == 0
    result = json.loads(out.read_text())
    words, sound = (result["sets"]["human"][way] for way in ("words", "sound"))
    for kind, goal in bench.GOALS.items():
        assert words[kind]["labels"] >= 3
        assert words[kind]["f1"] >= goal
        assert result["reached"][f"human.{kind}"]
    assert sound["turn"]["f1"] >= 0.85  # without words a short answer may be a backchannel
    assert "human         words  turn" in capsys.readouterr().out


def test_a_missed_goal_is_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SETS", {name: bench.SETS[name] for name in ("human",)})
    half = {kind: Agreement(n_labels=4, n_derived=4, n_both=2) for kind in bench.KINDS}
    monkeypatch.setattr(bench, "_measured", lambda name, config: {"words": half})
    values = ["n_dialogues=1"]
    assert main(["bench", "derive", *values]) == 1
    assert "0.9 missed" in capsys.readouterr().out


def labels_with(*events: EventLabel) -> DialogueLabels:
    return DialogueLabels(
        seed=0,
        index=0,
        split="train",
        layout_hash="",
        sample_rate=16000,
        n_micro_turns=50,
        micro_turn_s=0.2,
        families=(),
        voice="",
        items=(),
        room=RoomLabel(
            id=0, size_m=(3.0, 4.0, 2.5), rt60_s=0.2, measured_rt60_s=0.2, near_m=1, far_m=2
        ),
        channel=ChannelLabel(),
        events=events,
    )


def turn(end_s: float) -> EventLabel:
    expect = ExpectLabel(act="respond", window_s=(end_s, end_s + 0.8))
    return EventLabel(type="turn", start_s=end_s - 1, end_s=end_s, speaker="user", expect=expect)


def compared(labels: DialogueLabels, *derived: EventLabel, kind: str = "turn") -> Agreement:
    return agreement(labels, derived, kind=kind, tolerance_s=0.25, shortest_s=0.3)


def test_each_event_counts_once_and_the_nearest_first() -> None:
    labels = labels_with(turn(2.0), turn(2.3), turn(8.0))
    one = compared(labels, turn(2.2), turn(2.25), turn(5.0))
    assert (one.n_labels, one.n_derived, one.n_both) == (3, 3, 2)
    assert (one.precision, one.recall, one.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_without_labels_or_findings_there_is_no_share() -> None:
    one = compared(labels_with())
    assert (one.precision, one.recall, one.f1) == (None, None, None)


def test_labels_that_a_rule_does_not_cover_are_counted() -> None:
    def pause(start_s: float, end_s: float) -> EventLabel:
        expect = ExpectLabel(act="stay_silent", window_s=(start_s, end_s))
        return EventLabel(type="pause", start_s=start_s, end_s=end_s, speaker="user", expect=expect)

    one = compared(labels_with(pause(1.0, 1.2), pause(3.0, 3.5)), kind="pause")
    assert (one.n_labels, one.n_outside, one.recall) == (2, 1, 0.0)
