"""What is put into dialogues of open speech leaves all else as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.script import Clip, Script
from microturn.datagen.dialogue.timeline import Event
from microturn.datagen.pipeline import Simulator
from microturn.datagen.report.check import faults_of_timeline
from microturn.datagen.report.verify_audio import (
    AudioFindings,
    AudioVerifier,
    ScenarioDialogue,
)
from microturn.datagen.scenario_config import REQUESTS, SOUNDS
from support.open_corpora import recorded_rows, write_conversations

Build = Callable[..., Simulator]
THIRD_S = (3.0, 26.0)  # when a third person speaks: among the words of both, and alone
SHORT = ("vocabulary.cue_delay_s=[1, 1]",)
NUMBERS = DatagenConfig(out="unused").vocabulary.numbers
LAYOUT = load_config(DatagenConfig, ["datagen/open.yaml"], ["out=unused"]).layout
RATE, STEP = LAYOUT.sample_rate, LAYOUT.samples_per_micro_turn
QUIET = ("channel.overlay_probability=0", "channel.zero_probability=0", "stems=true")
FAMILIES = ("scripted", "narration", "listening", "read_aloud", "repeat_after", "recorded")


@pytest.fixture(scope="module")
def build(
    config: DatagenConfig,
    simulator_for: Callable[[DatagenConfig], Simulator],
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    """Builds a simulator of open speech, in which a call of three people is recorded."""
    folder = tmp_path_factory.mktemp("calls")
    write_conversations(folder, recorded_rows(Corpus.open(), folder, third=THIRD_S))

    def built(*keys: str) -> Simulator:
        keys = ("out=unused", "n_micro_turns=150", f"corpus=default,scenes,{folder}", *QUIET, *keys)
        families = [f"families.{name}=1" for name in FAMILIES]
        made = load_config(DatagenConfig, ["datagen/open.yaml"], [*families, *keys])
        return simulator_for(replace(made, rooms=config.rooms))

    return built


def _placed(clips: Iterable[Clip]) -> list[tuple[object, ...]]:
    return [(c.unit.source, c.unit.voice, c.start_sample, c.n_samples, c.gain_db) for c in clips]


@pytest.fixture(scope="module")
def plain(build: Build) -> Simulator:
    return build("scenarios.interjections.voice=0")


@pytest.fixture(scope="module")
def noisy(build: Build) -> Simulator:
    shares = (f"scenarios.transplants.{kind}=1" for kind in SOUNDS)
    return build("scenarios.interjections.voice=0", *shares)


@pytest.mark.parametrize("family", FAMILIES)
def test_sounds_are_put_over_a_dialogue_that_stays_as_it_was(
    plain: Simulator, noisy: Simulator, family: str
) -> None:
    for index in range(3):
        before = plain.script(plain.recipe(index, only=family)).script
        script = noisy.script(noisy.recipe(index, only=family)).script
        assert script.timeline.user == before.timeline.user
        assert script.timeline.agent == before.timeline.agent
        clips = [clip for clip in script.clips if clip.lane == "background"]
        assert _placed(c for c in script.clips if c.lane != "background") == _placed(before.clips)
        events = [e for e in script.timeline.events if e.speaker == "background"]
        assert sorted(event.type for event in events) == sorted(SOUNDS)
        for event in events:
            (clip,) = [c for c in clips if c.start_sample == event.start_sample]
            assert clip.end_sample == event.end_sample
            assert event.confidence == 1.0
            if event.type == "background_speech":
                people = {c.unit.voice.split("@")[0] for c in before.clips}
                assert clip.unit.voice.split("@")[0] not in people
        assert list(faults_of_timeline(script.timeline)) == []


def test_what_a_sound_asks_for_is_what_the_recorded_agent_does(noisy: Simulator) -> None:
    """Over its words it goes on; while it is silent, it stays so; else nothing is asked."""
    acts = set()
    for index in range(12):
        timeline = noisy.script(noisy.recipe(index, only="recorded")).script.timeline
        for event in timeline.events:
            if event.speaker != "background":
                continue
            acts.add(event.expect.act if event.expect else "")
            if event.expect is not None:
                speaks = timeline.speaks("agent", *event.expect.window_samples)
                assert speaks is (event.expect.act == "resume")
    assert acts == {"", "resume", "stay_silent"}


def test_a_share_of_the_dialogues_has_them(build: Build) -> None:
    simulator = build("scenarios.transplants.noise=0.5")
    n = sum(
        any(e.type == "noise" for e in script.timeline.events)
        for script in (
            simulator.script(simulator.recipe(index, only="repeat_after")).script
            for index in range(24)
        )
    )
    assert 6 <= n <= 18


def test_third_voices_of_a_call_are_heard_in_the_microphone(build: Build, plain: Simulator) -> None:
    full = build("scenarios.third_voice_share=1")
    silent = 0
    for index in range(3):
        recipe = full.recipe(index, only="recorded")
        before = plain.script(plain.recipe(index, only="recorded"))
        after = full.script(recipe)
        timeline = after.script.timeline
        assert timeline.user == before.script.timeline.user
        assert timeline.agent == before.script.timeline.agent
        assert {word.voice for word in timeline.background} == {"calls-c"}
        sound = full.sound(recipe, after.script, conditions=after.conditions)
        dry = full.sound(recipe, before.script, conditions=before.conditions)
        events = [event for event in timeline.events if event.type == "background_speech"]
        assert events
        assert not any(e.type == "background_speech" for e in before.script.timeline.events)
        for event in events:
            span = slice(event.start_sample, event.end_sample)
            heard = sound.stems["background"][span]
            assert np.sqrt(np.mean(np.square(heard))) > 1e-3
            assert 0 < event.confidence < 1
            silent += _is_silence(event)
        assert np.array_equal(sound.agent, dry.agent)
        assert np.array_equal(sound.stems["user"], dry.stems["user"])
        assert {talker.place[:-1] for talker in sound.room.talkers} == {"near", "beside"}
        assert list(faults_of_timeline(timeline)) == []
    assert silent


def _is_silence(event: Event) -> bool:
    return event.expect is not None and event.expect.act == "stay_silent"


@pytest.fixture(scope="module")
def asked(build: Build) -> Simulator:
    shares = (f"scenarios.transplants.{kind}=1" for kind in REQUESTS)
    return build("scenarios.interjections.voice=0", *shares)


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_are_put_between_two_turns_that_stay_as_they_were(
    plain: Simulator, asked: Simulator, family: str
) -> None:
    """What is said before a request stays where it was, what is said after it comes later."""
    verifier, findings, found = AudioVerifier(RATE), AudioFindings(), set()
    for index in range(6):
        recipe = asked.recipe(index, only=family)
        composed = asked.script(recipe)
        script, timeline = composed.script, composed.script.timeline
        before = plain.script(plain.recipe(index, only=family)).script
        found |= {event.type for event in timeline.events if event.type in REQUESTS}
        ours = [clip for clip in script.clips if clip.unit.voice.startswith("asterisk-en")]
        rest = sorted((clip for clip in script.clips if clip not in ours), key=_time)
        lags = []
        for clip, was in zip(rest, sorted(before.clips, key=_time), strict=False):
            assert np.array_equal(clip.unit.audio, was.unit.audio)
            assert (clip.lane, clip.n_samples) == (was.lane, was.n_samples)
            lags.append(clip.start_sample - was.start_sample)
        assert lags == sorted(lags)
        assert all(lag % STEP == 0 for lag in lags)
        for clip in ours:
            assert not any(
                other.start_sample < clip.end_sample and clip.start_sample < other.end_sample
                for other in rest
            )
        for event in timeline.events:
            if event.type in REQUESTS:
                assert event.confidence == 1.0
                _check_request(event, script)
        assert list(faults_of_timeline(timeline)) == []
        sound = asked.sound(recipe, script, conditions=composed.conditions)
        dialogue = ScenarioDialogue(recipe=recipe, script=script, n_segments=1, sound=sound)
        verifier.verify(dialogue, findings, align=False)
    assert findings.faults == []
    assert found or family == "listening"  # where the user seldom yields


def _time(clip: Clip) -> tuple[int, str]:
    return clip.start_sample, clip.lane


def _check_request(event: Event, script: Script) -> None:
    """The agent says or does what is asked when it is due, and nothing that was there before."""
    expect = event.expect
    if expect is None:  # an agreement
        assert event.type == "spoken_cue"
        return
    first, last = expect.window_samples
    said = [w for w in script.timeline.agent if first <= w.start_sample < last]
    assert " ".join(word.text for word in said).startswith(expect.text.split()[0])
    assert {word.voice for word in said} == {"asterisk-en"}
    if event.type == "delegation":
        (result,) = [e for e in script.timeline.events if e.type == "result"]
        assert result.expect is not None
        assert f"<bg> {result.expect.text} </bg>" in {str(t.text) for t in script.timeline.text_in}
    if event.type == "timed_cue":
        seconds = NUMBERS.index(event.text.split()[0]) + 1
        assert 0 <= said[0].start_sample - event.end_sample - seconds * RATE < STEP


def test_a_silence_that_is_long_enough_is_used_as_it_is(build: Build) -> None:
    """Both sides of the call are silent from 25 s on."""
    keys = ("n_micro_turns=155", "vocabulary.cue_delay_s=[1, 1]")
    plain, asked = build(*keys), build(*keys, "scenarios.transplants.timed_cue=1")
    before = plain.script(plain.recipe(0, only="recorded")).script
    script = asked.script(asked.recipe(0, only="recorded")).script
    (event,) = [event for event in script.timeline.events if event.type == "timed_cue"]
    assert event.start_sample > 24 * RATE
    ours = [clip for clip in script.clips if clip.unit.voice.startswith("asterisk-en")]
    assert _placed(clip for clip in script.clips if clip not in ours) == _placed(before.clips)


def test_words_that_nobody_has_recorded_are_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="scenarios.transplants.spoken_cue=1.0: .* 'xyzzy' by voi"):
        build("scenarios.transplants.spoken_cue=1", "vocabulary.numbers=[xyzzy]", *SHORT)
    with pytest.raises(ValueError, match="scenarios.transplants needs .*voices.user='nobody', who"):
        build("scenarios.transplants.timed_cue=1", "voices.user=nobody")


def test_a_kind_that_is_unknown_and_a_share_that_is_none_are_refused(tmp_path: Path) -> None:
    for key in ("scenarios.transplants.thunder=0.1", "scenarios.transplants.music=1.5"):
        with pytest.raises(ValueError, match=r"scenarios.transplants.\w+=.* must be a share betwe"):
            load_config(DatagenConfig, [], ["out=x", key])


def test_an_agent_of_no_conversation_is_told_who_has_some(
    config: DatagenConfig,
    simulator_for: Callable[[DatagenConfig], Simulator],
    tmp_path: Path,
) -> None:
    folder = write_conversations(tmp_path, recorded_rows(Corpus.open(), tmp_path))
    changed = replace(config, corpus=f"default,{folder}", only=("recorded",))
    remedy = "give voices.agent=any, or one of those who have: calls-a, calls-b"
    with pytest.raises(ValueError, match=f"families.recorded: .*'asterisk-en' has.*{remedy}"):
        simulator_for(changed)
