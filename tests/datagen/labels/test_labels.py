"""Labels are refused in a sentence that names the dialogue and the field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel, ExpectLabel, TextLabel
from microturn.datagen.labels.event_types import EVENT_TYPES, event_type
from microturn.datagen.sets.shards import ShardReader

WHERE = "set/shard-000000.tar:00000003.json"


@pytest.fixture
def stored(finished_set: ShardReader) -> Any:
    """The `json` member of a dialogue."""
    return json.loads(finished_set[1].members["json"])


@pytest.fixture
def table() -> Iterator[None]:
    """What a set brings is forgotten."""
    before = dict(EVENT_TYPES)
    yield
    EVENT_TYPES.clear()
    EVENT_TYPES.update(before)


def read(values: Any) -> DialogueLabels:
    return DialogueLabels.from_json(values, where=WHERE)


def test_labels_survive_their_json(stored: Any) -> None:
    labels = read(stored)
    assert json.loads(json.dumps(labels.to_json())) == stored


def test_only_a_confidence_below_one_is_written(stored: Any) -> None:
    assert "confidence" not in stored["events"][0]  # so older sets are read, and new ones there
    stored["events"][0]["confidence"] = 0.75
    labels = read(stored)
    assert [event.confidence for event in labels.events[:2]] == [0.75, 1.0]
    assert json.loads(json.dumps(labels.to_json())) == stored
    timeline = Timeline.from_labels(labels, sample_rate=16000, n_samples=labels.n_samples)
    assert timeline.labels(16000).events == labels.events


def test_a_set_of_the_former_format_is_refused(stored: Any) -> None:
    with pytest.raises(ValueError, match=f"{WHERE}: labels of format 1, .* simulate the set again"):
        read({**stored, "format": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("words"), "field words is missing"),
        (lambda v: v["events"][0].pop("end_s"), r"field events\[0\].end_s is missing"),
        (lambda v: v["events"][0].update(begin_s=1.0), r"unknown field events\[0\].begin_s"),
        (lambda v: v["events"][0].update(start_=1.0), "start_; did you mean 'start_s'"),
        (lambda v: v.update(n_micro_turns="80"), "n_micro_turns must be int, not '80'"),
        (lambda v: v["words"].update(user=3), r"words.user must be list, not 3"),
        (lambda v: v["channel"].update(snr_db="loud"), "channel.snr_db must be float, not 'loud'"),
        (
            lambda v: v["room"].update(talkers=[1]),
            r"room.talkers\[0\] must be keys with values, not 1",
        ),
        (
            lambda v: v["events"][0].update(confidence=1.5),
            r"events\[0\]: confidence=1.5 of an event must be above 0 and at most 1",
        ),
        (lambda v: v["events"][0].update(type="tunr"), r"events\[0\]: there is no event type"),
    ],
)
def test_a_faulty_field_is_named(stored: Any, change: Any, message: str) -> None:
    change(stored)
    with pytest.raises(ValueError, match=message) as refused:
        read(stored)
    assert str(refused.value).startswith(WHERE)


def test_a_set_brings_the_event_types_of_its_plugins(stored: Any, table: None) -> None:
    quarrel = {"name": "quarrel", "suite": "quarrel", "acts": ["stay_silent"]}
    quarrel |= {"colour": "#aa3377", "meaning": "a quarrel", "takes_turn": True}
    stored["event_types"] = [quarrel]
    stored["events"][0].update(type="quarrel", expect=None)
    labels = read(stored)
    assert labels.events[0].type == "quarrel"
    assert event_type("quarrel").colour == "#aa3377"
    assert labels.to_json()["event_types"] == [quarrel]


def test_an_event_knows_what_it_expects() -> None:
    expect = ExpectLabel(act="say", text="Seven, four", window_s=(1.0, 2.0))
    event = EventLabel(type="recall", start_s=0.5, end_s=0.5, expect=expect)
    assert (event.act, event.expected, event.window_s) == ("say", ("seven", "four"), (1.0, 2.0))
    assert event.instant
    nothing = EventLabel(type="turn", start_s=0.0, end_s=1.0)
    assert (nothing.act, nothing.expected, nothing.window_s) == ("", (), None)
    assert TextLabel(time_s=0.0, text="<bg> eleven </bg>").is_result


def test_a_dialogue_of_a_shard_names_itself(finished_set: ShardReader, tmp_path: Path) -> None:
    from dataclasses import replace

    sample = finished_set[0]
    broken = replace(sample, members={**sample.members, "json": b'{"format": 2}'})
    with pytest.raises(ValueError, match=r"shard-000000\.tar:00000000\.json: field .* is missing"):
        _ = broken.labels
