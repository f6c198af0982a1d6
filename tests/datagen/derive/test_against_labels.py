"""Events derived from the words of simulated dialogues are those of their exact labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.events import derive_events
from microturn.datagen.derive.speech_units import SpokenSide
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.pipeline import Simulator
from microturn.evaluation.bench.derived.agreement import Agreement, agreement
from microturn.evaluation.bench.derived.bench import GOALS, SETS

RATE = 16_000


@pytest.fixture(scope="module", params=["conversation", "human"])
def dialogues(
    request: pytest.FixtureRequest,
    config: DatagenConfig,
    simulator_for: Callable[[DatagenConfig], Simulator],
) -> list[DialogueLabels]:
    """Labels of 16 dialogues, in the setting of the first, which alone is rendered."""
    file, families = SETS[request.param]
    mix = load_config(DatagenConfig, [file], ["out=unused"])
    simulator = simulator_for(replace(mix, only=families, rooms=config.rooms))
    first = simulator.labels(simulator.dialogue(0))
    timelines = [simulator.script(simulator.recipe(i))[0].timeline for i in range(16)]
    return [replace(first, **vars(timeline.labels(RATE))) for timeline in timelines]


def test_the_goals_are_reached_where_the_set_s_own_phrases_count(
    dialogues: list[DialogueLabels],
) -> None:
    own = DatagenConfig(out="unused").vocabulary.backchannels
    derive = DeriveConfig(more_backchannels=own)
    found = {kind: Agreement() for kind in GOALS}
    for labels in dialogues:
        events = derive_events(
            SpokenSide(words=labels.words.user),
            SpokenSide(words=labels.words.agent),
            duration_s=labels.duration_s,
            language="en",
            config=derive,
        )
        for kind, total in found.items():
            total.add(agreement(labels, events, kind=kind, tolerance_s=0.05, shortest_s=0.0))
    for kind, goal in GOALS.items():
        assert found[kind].n_labels >= 5
        f1 = found[kind].f1
        assert f1 is not None
        assert f1 >= goal, kind
