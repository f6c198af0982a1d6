"""What a configuration says of users who react, they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from microturn.datagen.closed_loop.config import ReactionConfig
from microturn.datagen.closed_loop.draws import Draws
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import Occurrence, Played
from microturn.datagen.config import HumanTimingConfig, TimingConfig
from microturn.datagen.labels.event_types import TURN
from microturn.datagen.live import LiveSource

RATE, BLOCK = 16_000, 3_200
SILENT = Played(audio=np.zeros(BLOCK, np.float32))


def unanswered(source: LiveSource, index: int) -> tuple[Occurrence, ...]:
    """What becomes of a dialogue whose agent is silent."""
    environment, done = Environment(source, index), False
    environment.reset()
    while not done:
        _, _, done = environment.step(SILENT)
    return environment.occurrences


@pytest.fixture
def asking(open_source: Callable[..., LiveSource]) -> Callable[..., LiveSource]:
    def build(*options: str) -> LiveSource:
        reactions = [f"timing.reactions.{option}" for option in options]
        return open_source("datagen/demo.yaml", "only=[turn]", *reactions)

    return build


def test_all_ask_again_or_none(asking: Callable[..., LiveSource]) -> None:
    kinds = []
    for share in (0, 1):
        occurred = unanswered(asking(f"ask_again_share={share}", "patience_s=[1,1]"), 0)
        kinds.append(Counter(one.kind for one in occurred))
    never, always = kinds
    assert never["asked_again"] == 0 < never["gave_up"]
    assert always["asked_again"] > 0


def test_patience_is_what_is_waited(asking: Callable[..., LiveSource]) -> None:
    waited = {}
    for patience_s in (1.0, 3.0):
        source = asking("ask_again_share=1", f"patience_s=[{patience_s},{patience_s}]")
        occurred = unanswered(source, 0)
        asked = next(one for one in occurred if one.kind == "asked_again")
        waited[patience_s] = asked.sample
    assert waited[3.0] - waited[1.0] == 2 * RATE


def draws(**options: object) -> Draws:
    timing = TimingConfig(**options)  # type: ignore[arg-type]
    return Draws(timing=timing, seed=0, index=3, rate=RATE, micro_turn=BLOCK)


def test_a_draw_belongs_to_its_name_and_micro_turn() -> None:
    made, other = draws(), draws()
    within = [made.chance("yield/1", 0.5, at=at) for at in range(0, BLOCK, 160)]
    assert len(set(within)) == 1
    assert within[0] == other.chance("yield/1", 0.5, at=7), "whatever was drawn before"
    later = [made.chance("yield/1", 0.5, at=k * BLOCK) for k in range(400)]
    assert 160 < sum(later) < 240


def test_gaps_of_people_are_waited_for_in_human_timing() -> None:
    ours = [draws().free(k * BLOCK) / RATE for k in range(50)]
    assert set(ours) == {0.6}
    human = draws(human=HumanTimingConfig(enabled=True, gap_median_s=0.8))
    drawn = [human.free(k * BLOCK) / RATE for k in range(400)]
    assert min(drawn) == 0.6
    assert np.median(drawn) == pytest.approx(0.8, rel=0.15)
    assert max(drawn) <= 3.0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"patience_s": (3.0, 2.0)},
            r"timing.reactions.patience_s=\[3.0, 2.0\] must be two rising",
        ),
        ({"yield_share": 1.5}, "timing.reactions.yield_share=1.5 must be between 0 and 1"),
        ({"free_s": 0.0}, "timing.reactions.free_s=0.0 must be positive"),
    ],
)
def test_wrong_keys_are_named(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ReactionConfig(**wrong)  # type: ignore[arg-type]


def test_no_dialogue_of_a_set_changes(asking: Callable[..., LiveSource]) -> None:
    usual, other = asking(), asking("ask_again_share=1", "patience_s=[9,9]")
    timelines = [one.simulator.rendered(5).timeline for one in (usual, other)]
    assert timelines[0].events == timelines[1].events
    assert [event.type for event in timelines[0].events].count(TURN) > 0
