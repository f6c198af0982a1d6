"""A timeline survives its labels, and labels their JSON, to the sample."""

import json

import pytest

from microturn.datagen.dialogue.timeline import Expect, Timeline
from microturn.datagen.labels.dialogue import TimelineLabels
from microturn.datagen.labels.json_fields import read_fields, write_fields
from microturn.datagen.pipeline import Simulator, encode_json


@pytest.mark.parametrize("index", range(5))
def test_json_round_trip(simulator: Simulator, index: int) -> None:
    recipe = simulator.recipe(index)
    timeline = simulator.script(recipe)[0].timeline
    rate = simulator.config.layout.sample_rate
    stored = json.loads(encode_json(write_fields(timeline.labels(rate))))
    labels = read_fields(TimelineLabels, stored, where="here")
    assert labels == timeline.labels(rate)
    read = Timeline.from_labels(labels, sample_rate=rate, n_samples=timeline.n_samples)
    assert read == timeline


def test_an_unknown_act_is_refused() -> None:
    with pytest.raises(ValueError, match="expect.act='sing' is not one of respond"):
        Expect(act="sing", window_samples=(0, 1))
