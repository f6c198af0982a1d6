"""Open speech: any voice can be the agent, whole recordings are said, and events are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.rules import STOP_S
from microturn.datagen.dialogue.script import Script
from microturn.datagen.dialogue.sides import is_pattern, matching
from microturn.datagen.dialogue.timeline import Event
from microturn.datagen.labels.event_types import AGENT_BACKCHANNEL, TURN
from microturn.datagen.pipeline import ComposedDialogue, Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.datagen.scenarios import REGISTRY, is_open
from support.open_corpora import recorded_rows, scripted_rows, write_conversations

Build = Callable[[DatagenConfig], Simulator]
OFTEN = (
    "scenarios.interjections={nothing: 0.3, stop: 0.3, backchannel: 0.2, aside: 0.1, voice: 0.1}"
)
OPEN = load_config(
    DatagenConfig, ["datagen/open.yaml"], ["out=unused", "timing.human.enabled=false", OFTEN]
)
FAMILIES = tuple(name for name, scenario in REGISTRY.items() if is_open(scenario))
N = 12
RATE = OPEN.layout.sample_rate


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped recordings, and dialogues made of them."""
    folder = tmp_path_factory.mktemp("played")
    rows = scripted_rows(Corpus.open()) + recorded_rows(Corpus.open(), folder)
    return f"default,{write_conversations(folder, rows)}"


@pytest.fixture(scope="module")
def spoken(config: DatagenConfig, simulator_for: Build, played: str) -> Simulator:
    families = dict.fromkeys(FAMILIES, 1.0)
    return simulator_for(replace(OPEN, rooms=config.rooms, corpus=played, families=families))


def composed(simulator: Simulator, family: str, index: int) -> ComposedDialogue:
    return simulator.script(simulator.recipe(index, only=family))


def events_of(script: Script, kind: str) -> list[Event]:
    return [event for event in script.timeline.events if event.type == kind]


def test_the_mix_draws_open_families_alone() -> None:
    assert set(OPEN.weights) <= set(FAMILIES) <= set(OPEN.families)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_contradict_nothing(spoken: Simulator, family: str) -> None:
    for index in range(N):
        script, families, _ = composed(spoken, family, index)
        assert set(families) == {family}
        assert list(faults_of_timeline(script.timeline)) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_one_voice_is_the_agent_and_nobody_else_has_it(spoken: Simulator, family: str) -> None:
    agents = set()
    for index in range(N):
        recipe = spoken.recipe(index, only=family)
        assert recipe.cast is not None
        clips = spoken.script(recipe).script.clips
        said = {clip.unit.voice for clip in clips if clip.lane == "agent"}
        heard = {clip.unit.voice.partition("@")[0] for clip in clips if clip.lane != "agent"}
        assert said <= {recipe.cast.agent}
        assert recipe.cast.agent not in heard
        agents.add(recipe.cast.agent)
    assert len(agents) >= (2 if family == "recorded" else 5)


def test_the_agent_says_the_clean_recording_at_its_own_level(spoken: Simulator) -> None:
    corpus = spoken.bank.corpus
    for index in range(4):
        clips = composed(spoken, "narration", index).script.clips
        for clip in (clip for clip in clips if clip.lane == "agent"):
            audio, unit = corpus.load(corpus[clip.unit.source]), clip.unit.audio
            inner = unit[200:-200]
            at = int(np.argmax(np.correlate(audio[: len(audio)], inner[:4000], "valid")))
            recorded = audio[at : at + len(inner)]
            gain = float(np.dot(inner, recorded) / np.dot(recorded, recorded))
            assert np.allclose(inner, gain * recorded, atol=1e-5)
            level_db = 20 * np.log10(np.sqrt(np.mean(np.square(unit))))
            assert level_db <= spoken.config.voices.agent_level_db + 0.5


def test_a_stopped_reader_is_silent_until_it_is_asked(spoken: Simulator) -> None:
    stopped = resumed = cut = 0
    for index in range(40):
        script = composed(spoken, "narration", index).script
        asked = sorted(event.end_sample for event in events_of(script, "turn"))
        for stop in events_of(script, "interruption"):
            silent_from = stop.start_sample + round(float(STOP_S) * RATE)
            again = [end for end in asked if end > stop.end_sample]
            until = again[0] - RATE if again else script.timeline.n_samples
            assert not script.timeline.speaks("agent", silent_from, max(until, silent_from + 1))
            said = [w for w in script.timeline.agent if w.end_sample > stop.start_sample]
            cut += any(word.cut for word in said if word.start_sample < silent_from)
            stopped += 1
            resumed += bool(again)
    assert stopped > 10
    assert cut > stopped / 3, "some stop between two words"
    assert resumed > 5


def test_lines_are_read_in_their_order(spoken: Simulator) -> None:
    assert spoken.sources is not None
    speakers = spoken.sources.speech.speakers
    for index in range(N):
        recipe = spoken.recipe(index, only="narration")
        assert recipe.cast is not None
        order = [line.id for chapter in speakers[recipe.cast.agent].chapters for line in chapter]
        clips = [clip for clip in spoken.script(recipe).script.clips if clip.lane == "agent"]
        for turn in zip(clips, clips[1:], strict=False):
            before, after = (clip.unit.source for clip in turn)
            if turn[0].n_samples == turn[0].unit.n_samples and before != after:
                close = turn[1].start_sample - turn[0].end_sample < RATE // 2
                follows = order.index(after) - order.index(before)
                assert not close or 0 < follows <= 4


def test_the_agent_listens_through_every_hesitation(spoken: Simulator) -> None:
    pauses = inside = points = 0
    for index in range(N):
        script = composed(spoken, "listening", index).script
        assert not events_of(script, "turn")
        for event in events_of(script, "pause"):
            assert event.end_sample - event.start_sample >= 0.2 * RATE
            assert not script.timeline.speaks("user", event.start_sample, event.end_sample)
            around = [
                clip.unit.source
                for clip in script.clips
                if clip.lane == "user"
                and (clip.end_sample == event.start_sample or clip.start_sample == event.end_sample)
            ]
            assert len(around) == 2
            inside += around[0] == around[1]
            pauses += 1
        for event in events_of(script, "agent_backchannel"):
            assert script.timeline.speaks("user", event.end_sample, event.end_sample + 1)
            points += 1
    assert pauses > N
    assert inside > 5, "hesitations inside a recorded line"
    assert points > 3


@pytest.mark.parametrize("on_grid", [True, False])
def test_answers_begin_on_micro_turns_where_they_should(
    config: DatagenConfig, simulator_for: Build, on_grid: bool
) -> None:
    human = replace(OPEN.timing.human, overlapped_changes=0.0)
    timing = replace(OPEN.timing, agent_on_grid=on_grid, human=human)
    families = {"narration": 1.0, "scripted": 1.0}
    simulator = simulator_for(replace(OPEN, rooms=config.rooms, timing=timing, families=families))
    step = OPEN.layout.samples_per_micro_turn
    rests = []
    for index in range(N):
        script = simulator.script(simulator.recipe(index)).script
        begun = [clip.start_sample for clip in script.clips if clip.lane == "agent"]
        for turn in events_of(script, TURN):
            rests.append(min(at for at in begun if at > turn.end_sample - step) % step)
    assert rests
    assert on_grid == (max(rests) == 0)


def test_a_listener_says_nothing_where_the_share_of_listening_is_none(
    config: DatagenConfig, simulator_for: Build
) -> None:
    scenarios = replace(OPEN.scenarios, listening_share=0.0)
    silent = simulator_for(replace(OPEN, rooms=config.rooms, scenarios=scenarios))
    for index in range(N):
        script = composed(silent, "listening", index).script
        assert not script.timeline.agent
        assert not events_of(script, AGENT_BACKCHANNEL)


def test_bare_words_are_lines_where_one_word_is_enough(
    config: DatagenConfig, simulator_for: Build
) -> None:
    texts = {}
    for line_words in (1, 3):
        scenarios = replace(OPEN.scenarios, listening_share=0.0, line_words=line_words)
        simulator = simulator_for(replace(OPEN, rooms=config.rooms, scenarios=scenarios))
        assert simulator.sources is not None
        speakers = simulator.sources.speech.speakers.values()
        lines = [line for speaker in speakers for line in speaker.told]
        corpus = simulator.bank.corpus
        texts[line_words] = {corpus[line.id].text.lower().strip(".!?, ") for line in lines}
        said = set()
        for index in range(N):
            recipe = simulator.recipe(index, only="listening")
            clips = simulator.script(recipe).script.clips
            said |= {corpus[clip.unit.source].text for clip in clips if clip.lane == "user"}
        assert (min(len(text.split()) for text in said) < 3) == (line_words == 1)
    assert "yes" in texts[1]
    assert "yes" not in texts[3]


def test_scripted_turns_are_played_in_their_order(spoken: Simulator) -> None:
    people, cuts, overlaps, changes = set(), 0, 0, 0
    for index in range(20):
        recipe = spoken.recipe(index, only="scripted")
        assert recipe.cast is not None
        sources = spoken.sources
        assert sources is not None
        dialogues = [
            [line for turn in sources.scripted.turns(place) for line in turn.lines]
            for place in sources.scripted.by_agent[recipe.cast.agent]
        ]
        script = spoken.script(recipe).script
        said = sorted(
            (clip for clip in script.clips if clip.lane != "background"),
            key=lambda clip: clip.start_sample,
        )
        turns = [
            clip.unit.source
            for clip in said
            if any(clip.unit.source in lines for lines in dialogues) and clip.gain_db == 0
        ]
        assert any(_begins(lines, turns) for lines in dialogues)
        people |= {clip.unit.voice.partition("@")[0] for clip in said}
        cuts += sum(word.cut for word in script.timeline.agent)
        for event in events_of(script, "turn"):
            assert event.expect is not None
            answer = [w for w in script.timeline.agent if w.start_sample >= event.start_sample]
            overlaps += min(w.start_sample for w in answer) < event.end_sample
            changes += 1
        missing = {w.text for w in script.timeline.agent} - {
            w.text for w in script.timeline.intended
        }
        assert not missing, "what it would have said is kept"
    assert len(people) > 6
    assert cuts > 3, "turns that the next one breaks off"
    assert 0.2 < overlaps / changes < 0.6


def _begins(lines: list[str], turns: list[str]) -> bool:
    """Whether the first turns stand one after the other in a dialogue."""
    return any(lines[at : at + 3] == turns[:3] for at in range(len(lines)))


def test_a_dialogue_of_missing_recordings_is_refused(
    config: DatagenConfig, simulator_for: Build, tmp_path: Path
) -> None:
    row = scripted_rows(Corpus.open())[0]
    row["turns"][1]["utterance"] = "played/lost"
    corpus = f"default,{write_conversations(tmp_path / 'bad', [row])}"
    changed = replace(OPEN, rooms=config.rooms, corpus=corpus, only=("scripted",))
    with pytest.raises(ValueError, match="'played/0' names the recording 'played/lost', .*bad;"):
        simulator_for(changed)
    with pytest.raises(ValueError, match="families.scripted: nobody of voices.agent='any' has wh"):
        simulator_for(replace(changed, corpus=""))


def test_who_may_be_the_agent_can_be_named(config: DatagenConfig, simulator_for: Build) -> None:
    assert matching("any", ["b", "a"]) == ["a", "b"]
    assert matching("faye, z*", ["faye", "zombie", "joe"]) == ["faye", "zombie"]
    assert not is_pattern("asterisk-en")
    few = load_config(
        DatagenConfig, ["datagen/open.yaml"], ["out=x", "voices.agent=faye, z*", "seed=3"]
    )
    simulator = simulator_for(replace(few, rooms=config.rooms))
    casts = [simulator.recipe(index).cast for index in range(30)]
    assert {cast.agent for cast in casts if cast} == {"faye", "zombie", "zombie-woman"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["voices.agent=x*"], r"nobody of voices.agent='x\*' has what it needs in .* for split=tr"),
        (
            ["families.turn=1"],
            "families.turn needs voices.agent to be the one speaker who has recorded its words",
        ),
        (
            ["voices.agent=asterisk-ru", "only=[narration]"],
            "families.narration: nobody of voices.agent='asterisk-ru'.*a reader of at least",
        ),
        (["scenarios.interjections={sneeze: 1}"], "scenarios.interjections=.* must be weights"),
    ],
)
def test_what_nobody_can_play_is_one_sentence(
    config: DatagenConfig, simulator_for: Build, overrides: list[str], sentence: str
) -> None:
    def build() -> None:
        changed = load_config(DatagenConfig, ["datagen/open.yaml"], ["out=x", *overrides])
        simulator_for(replace(changed, rooms=config.rooms))

    with pytest.raises(ValueError, match=sentence):
        build()
