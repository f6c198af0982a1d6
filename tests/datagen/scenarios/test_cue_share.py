"""Long turns in which any word may be an agreed cue, one of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.datagen.scenarios.cues.spoken_cue import WORDS_AFTER

N = 24


def build(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator], *files: str
) -> Simulator:
    overrides = ["out=unused", "n_dialogues=1"]
    chosen = load_config(DatagenConfig, ["datagen/demo.yaml", *files], overrides)
    return simulator_for(replace(chosen, rooms=config.rooms))


def test_of_several_cues_each_has_its_own_answer(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    files = ("datagen/ship_cues.yaml", "datagen/ship_many_cues.yaml")
    simulator = build(config, simulator_for, *files)
    n_agreed, heard = Counter[int](), set[str]()
    for index in range(N):
        timeline = simulator.script(simulator.recipe(index, only="spoken_cue")).script.timeline
        assert not list(faults_of_timeline(timeline))
        events = [event for event in timeline.events if event.type == "spoken_cue"]
        agreed = dict(e.text.split(" equals ") for e in events if e.expect is None)
        assert len(set(agreed.values())) == len(agreed)
        first = max((e.end_sample for e in events if e.expect is None), default=0)
        asked = [word for word in timeline.user if word.start_sample > first]
        due = [event for event in events if event.expect]
        assert [w.text for w in asked if w.text in agreed] == [event.text for event in due]
        assert all(e.expect and e.expect.text == agreed[e.text] for e in due)
        n_agreed[len(agreed)] += 1
        heard |= {event.text for event in due if event.text != next(iter(agreed))}
    assert n_agreed[2]
    assert n_agreed[3]
    assert heard, "cues that are not the first agreed on"


def test_any_word_with_words_before_and_after_it_may_be_the_cue(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    simulator = build(config, simulator_for, "datagen/ship_cues.yaml")
    cues = Counter[int]()
    for index in range(N):
        timeline = simulator.script(simulator.recipe(index, only="spoken_cue")).script.timeline
        assert not list(faults_of_timeline(timeline))
        events = [event for event in timeline.events if event.type == "spoken_cue"]
        agreed = [event for event in events if event.expect is None]
        bounds = [event.start_sample for event in agreed] + [timeline.n_samples]
        for agreement, until in zip(agreed, bounds[1:], strict=True):
            cue, reply = agreement.text.split(" equals ")
            turn = [w for w in timeline.user if agreement.end_sample < w.start_sample < until]
            places = [i for i, word in enumerate(turn) if word.text == cue]
            due = [e for e in events if e.expect and agreement.end_sample < e.start_sample < until]
            assert [e.start_sample for e in due] == [turn[i].start_sample for i in places]
            assert {e.expect.text for e in due if e.expect} <= {reply}
            assert not places or places[0] > 0 and len(turn) - places[-1] > WORDS_AFTER
            assert all(b - a >= WORDS_AFTER for a, b in zip(places, places[1:], strict=False))
            cues[len(places)] += 1
    assert cues[0]
    assert max(cues) > 2  # without the share once or twice
