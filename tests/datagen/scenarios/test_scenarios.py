"""Scripts obey the rules, whatever the seed, and questions have right and balanced answers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.datagen.config import DatagenConfig, VocabularyConfig
from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.datagen.scenarios import REGISTRY, Questions

Build = Callable[[DatagenConfig], Simulator]

FAMILIES = ("turn", "interruption", "user_backchannel", "background", "timed_cue", "delegation")


@pytest.fixture(scope="module", params=["train", "test"])
def of_split(
    request: pytest.FixtureRequest, config: DatagenConfig, simulator_for: Build
) -> Simulator:
    return simulator_for(replace(config, split=request.param))


def script_of(simulator: Simulator, index: int, family: str = "") -> tuple[Timeline, list[str]]:
    recipe = simulator.recipe(index)
    if family:
        recipe = replace(recipe, families=(family,) * 6)
    script, families, _ = simulator.script(recipe)
    return script.timeline, families


def events_of(timeline: Timeline, kind: str) -> list[Event]:
    return [event for event in timeline.events if event.type == kind]


def test_silence_begins_where_others_have_spoken_or_does_not_fit(
    config: DatagenConfig, simulator_for: Build
) -> None:
    simulator = simulator_for(replace(config, only=("hush", "turn"), n_micro_turns=150))
    n_silences = 0
    for index in range(20):
        timeline, _ = script_of(simulator, index)
        asked = [event.start_sample for event in events_of(timeline, "turn")]
        for silence in events_of(timeline, "silence"):
            n_silences += 1
            assert not [at for at in asked if silence.start_sample <= at < silence.end_sample]
    assert n_silences > 2


def test_the_shipped_families_are_registered() -> None:
    assert set(FAMILIES) <= set(REGISTRY)


@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None, max_examples=12)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_labels_are_consistent(of_split: Simulator, family: str, index: int) -> None:
    timeline, families = script_of(of_split, index, family)
    assert families
    assert set(families) == {family}
    assert list(faults_of_timeline(timeline)) == []


@settings(deadline=None, max_examples=40)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_mixed_dialogues_are_consistent(simulator: Simulator, index: int) -> None:
    timeline, _ = script_of(simulator, index)
    assert list(faults_of_timeline(timeline)) == []
    step = simulator.config.layout.samples_per_micro_turn
    starts = {
        clip.start_sample
        for clip in simulator.script(simulator.recipe(index))[0].clips
        if clip.lane == "agent"
    }
    assert all(start % step == 0 for start in starts)


@settings(deadline=None, max_examples=20)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_an_interruption_silences_the_agent_and_drops_words(
    simulator: Simulator, index: int
) -> None:
    timeline, _ = script_of(simulator, index, "interruption")
    rate = simulator.config.layout.sample_rate
    for event in events_of(timeline, "interruption"):
        silent_from = max(
            word.end_sample
            for word in timeline.agent
            if word.start_sample < event.start_sample + 0.61 * rate
        )
        assert silent_from <= event.start_sample + 0.61 * rate
        assert timeline.speaks("agent", event.start_sample - rate, event.start_sample + 1)
    assert len(timeline.intended) > len(timeline.agent)
    spoken = {(word.text, word.start_sample) for word in timeline.agent}
    assert spoken < {(word.text, word.start_sample) for word in timeline.intended}


@settings(deadline=None, max_examples=20)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_the_agent_goes_on_through_a_backchannel(simulator: Simulator, index: int) -> None:
    timeline, _ = script_of(simulator, index, "user_backchannel")
    for event in events_of(timeline, "user_backchannel"):
        assert event.expect is not None
        later = [word for word in timeline.agent if word.start_sample > event.start_sample]
        assert len(later) >= 2
        assert event.expect.window_samples[1] <= max(word.end_sample for word in later)
    assert timeline.agent == timeline.intended


@settings(deadline=None, max_examples=20)
@given(index=st.integers(min_value=0, max_value=10**6))
def test_a_result_is_said_after_it_arrived_and_never_over_the_user(
    simulator: Simulator, index: int
) -> None:
    timeline, _ = script_of(simulator, index, "delegation")
    results = events_of(timeline, "result")
    assert len(results) == len(timeline.text_in)
    for event, arrival in zip(results, timeline.text_in, strict=True):
        assert str(arrival.text) == f"<bg> {event.text} </bg>"
        assert event.expect is not None
        first, last = event.expect.window_samples
        word = next(w for w in timeline.agent if first <= w.start_sample < last)
        assert word.start_sample > arrival.sample
        assert not timeline.speaks("user", word.start_sample, word.end_sample)
    tokens = [control.token for control in timeline.controls]
    assert tokens.count("<delegate>") == len(events_of(timeline, "delegation"))


def test_every_kind_of_answer_is_right() -> None:
    questions, rng = Questions(VocabularyConfig()), np.random.default_rng(0)
    days, numbers = questions.vocabulary.days, questions.vocabulary.numbers
    for _ in range(300):
        turn, task, cue = questions.turn(rng), questions.task(rng), questions.cue(rng)
        if turn.kind == "number":
            assert turn.words[1:] == turn.answer
        if turn.kind == "day":
            step = {"tomorrow": 1, "yesterday": -1}[turn.words[1]]
            assert days.index(turn.answer[0]) == (days.index(turn.words[0]) + step) % 7
        if task.kind == "sum":
            a, b = (numbers.index(task.words[i]) + 1 for i in (0, 2))
            total = a + b if task.words[1] == "plus" else a - b
            assert questions.vocabulary.results[total] == task.answer[0]
        assert numbers[cue.seconds - 1] == cue.words[0]
        assert cue.words[2:] == cue.answer


def test_no_constant_answer_is_worth_giving() -> None:
    questions, rng = Questions(VocabularyConfig()), np.random.default_rng(1)
    for draw in (questions.turn, questions.cue, questions.task):
        answers = Counter(draw(rng).answer for _ in range(2000))
        assert max(answers.values()) / 2000 < 0.17


def test_families_come_as_they_are_weighted(config: DatagenConfig, simulator_for: Build) -> None:
    only = simulator_for(replace(config, families={"turn": 1.0, "timed_cue": 0.0}))
    assert {name for index in range(5) for name in script_of(only, index)[1]} == {"turn"}


def test_an_unknown_family_is_named(config: DatagenConfig, simulator_for: Build) -> None:
    with pytest.raises(ValueError, match="families.quarrel is no scenario; known are agent_"):
        simulator_for(replace(config, families={"quarrel": 1.0}))


def test_pauses_are_inside_turns_and_expect_silence(simulator: Simulator) -> None:
    found = 0
    for index in range(30):
        timeline, _ = script_of(simulator, index)
        for pause in events_of(timeline, "pause"):
            found += 1
            assert not timeline.speaks("user", pause.start_sample, pause.end_sample)
            assert pause.expect is not None
            assert pause.expect.act == "stay_silent"
    assert found


def test_the_agent_answers_off_the_grid_when_asked_to(
    config: DatagenConfig, simulator_for: Build
) -> None:
    timing = replace(config.timing, agent_on_grid=False)
    free = simulator_for(replace(config, timing=timing))
    timeline, _ = script_of(free, 3, "user_backchannel")
    step = config.layout.samples_per_micro_turn
    assert any(word.start_sample % step for word in timeline.agent)
    assert list(faults_of_timeline(timeline)) == []
