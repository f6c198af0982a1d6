"""Vocal tics: found by their transcripts, heard where their events say, and answered by nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.index.tics import HESITATIONS, LONGEST_S, SOUNDS, tics_among
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.script import Script
from microturn.datagen.dialogue.timeline import Event
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, open_corpus

Build = Callable[[DatagenConfig], Simulator]
EVERYTHING = load_config(DatagenConfig, ["datagen/everything.yaml"], ["out=unused"])
OFTEN = "scenarios.interjections={nothing: 0, stop: 0, backchannel: 0, aside: 0, voice: 0, tic: 1}"
OPEN = load_config(
    DatagenConfig, ["datagen/open.yaml"], ["out=unused", "timing.human.enabled=false", OFTEN]
)


@pytest.fixture(scope="module", params=["train", "test"])
def simulator(
    request: pytest.FixtureRequest, config: DatagenConfig, simulator_for: Build
) -> Simulator:
    return simulator_for(replace(EVERYTHING, split=request.param, rooms=config.rooms))


def script_of(simulator: Simulator, index: int, family: str = "vocal_tic") -> Script:
    return simulator.script(simulator.recipe(index, only=family)).script


def tics_of(script: Script) -> list[Event]:
    return [event for event in script.timeline.events if event.type == "vocal_tic"]


# --- which recordings ----------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", ["default", "scenes"])
def test_the_tics_that_ship_are_those_of_their_transcripts(corpus: str) -> None:
    recordings = open_corpus(DatagenConfig(out="unused", corpus=corpus)).utterances
    found = {phrase.utterance.id: phrase.text for phrase in tics_among(recordings)}
    for utterance in recordings:
        text, length_s = canonical(utterance.text), utterance.end_s - utterance.start_s
        is_short = length_s <= LONGEST_S
        hesitates = bool(text) and len(text.split()) <= 4 and set(text.split()) <= HESITATIONS
        is_sound = text in SOUNDS and utterance.text.strip()[0] in "[(<{*"
        assert (utterance.id in found) == (is_short and (hesitates or is_sound)), utterance.text
        if utterance.id in found:
            assert found[utterance.id] == ("" if is_sound else text)
    assert len(found) >= 18


def test_a_sound_in_brackets_has_no_words_and_a_hesitation_has_its_own() -> None:
    config = DatagenConfig(out="unused", corpus="default,scenes")
    bank = UnitBank(open_corpus(config), config)
    units = {unit.text: unit for unit in map(bank.tic, bank.tics())}
    assert units["sigh"].words == ()
    assert [word.text for word in units["um"].words] == ["um"]


def test_further_transcripts_are_named_by_pattern() -> None:
    corpus = Corpus.open()
    more = tics_among(corpus.utterances, more=("holy c*",))
    added = {p.utterance.id for p in more} - {p.utterance.id for p in tics_among(corpus.utterances)}
    assert {canonical(corpus[name].text) for name in added} == {"holy cow"}
    assert all(phrase.text == "" for phrase in more if phrase.utterance.id in added)


# --- the family ----------------------------------------------------------------------------------
def test_a_tic_sounds_where_its_event_is(simulator: Simulator) -> None:
    acts, lanes = set(), set()
    for index in range(20):
        script = script_of(simulator, index)
        clips = [clip for clip in script.clips if clip.lane in ("user", "background")]
        tics = {phrase.utterance.id for phrase in simulator.bank.tics()}
        for event in tics_of(script):
            assert event.expect is not None
            clip = next(c for c in clips if c.start_sample == event.start_sample)
            assert clip.unit.source in tics
            assert (clip.lane, clip.end_sample) == (event.speaker, event.end_sample)
            assert float(np.abs(clip.unit.audio).max()) > 0.01
            first, last = event.expect.window_samples
            assert first == event.start_sample
            if event.expect.act == "stay_silent":
                tail = simulator.config.timing.background_tail_s
                rate = simulator.config.layout.sample_rate
                assert last == event.end_sample + round(tail * rate)
            acts.add(event.expect.act)
            lanes.add(event.speaker)
    assert acts == {"stay_silent", "resume"}
    assert lanes == {"user", "background"}


def test_who_tics_into_the_agents_words_also_stops_it(simulator: Simulator) -> None:
    """Where anybody does: the voice alone tells nothing."""
    bank, config = simulator.bank, simulator.config
    stops = set(bank.phrases(config.vocabulary.stop_phrases).by_speaker())
    for index in range(20):
        script = script_of(simulator, index)
        for event in tics_of(script):
            if event.expect is not None and event.expect.act == "resume":
                clip = next(c for c in script.clips if c.start_sample == event.start_sample)
                assert bank.corpus[clip.unit.source].speaker in stops


def test_an_agent_that_reads_goes_on_through_a_tic(
    config: DatagenConfig, simulator_for: Build
) -> None:
    reading = simulator_for(replace(OPEN, rooms=config.rooms))
    n = 0
    for index in range(8):
        script = script_of(reading, index, "narration")
        for event in tics_of(script):
            assert event.expect is not None
            assert event.expect.act == "resume"
            assert script.timeline.speaks("agent", *event.expect.window_samples)
            n += 1
    assert n >= 4
