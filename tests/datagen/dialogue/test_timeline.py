"""A timeline survives its JSON form to the sample."""

import json

import pytest

from microturn.datagen.dialogue.timeline import Expect, Timeline
from microturn.datagen.pipeline import Simulator, encode_json


@pytest.mark.parametrize("index", range(5))
def test_json_round_trip(simulator: Simulator, index: int) -> None:
    recipe = simulator.recipe(index)
    timeline = simulator.script(recipe)[0].timeline
    rate = simulator.config.layout.sample_rate
    stored = json.loads(encode_json(timeline.to_json(rate)))
    assert Timeline.from_json(stored, sample_rate=rate, n_samples=timeline.n_samples) == timeline


def test_an_unknown_act_is_refused() -> None:
    with pytest.raises(ValueError, match="expect.act='sing' is not one of respond"):
        Expect(act="sing", window=(0, 1))
