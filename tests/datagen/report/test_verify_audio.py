"""Verifying audio: no fault in the scenarios that ship, and every injected fault is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.report.config import VerifyAudioConfig
from microturn.datagen.report.verify_audio import (
    AudioFindings,
    AudioVerifier,
    ScenarioDialogue,
    ScenarioRenderer,
    run_verify_audio,
    verify_scenario,
)
from support.open_corpora import recorded_rows, write_conversations

EVERYTHING = load_config(DatagenConfig, ["datagen/everything.yaml"], ["out=unused"])
HUMAN = load_config(DatagenConfig, ["datagen/human.yaml"], ["out=unused"])
OPEN = load_config(DatagenConfig, ["datagen/open.yaml"], ["out=unused"])
FAMILIES = tuple(EVERYTHING.weights)
OPEN_FAMILIES = (*OPEN.weights, "recorded")


@pytest.fixture(scope="module")
def renderer(config: DatagenConfig, cache: Path) -> ScenarioRenderer:
    return ScenarioRenderer(replace(EVERYTHING, rooms=config.rooms), cache)


@pytest.fixture(scope="module")
def talk(config: DatagenConfig, cache: Path) -> ScenarioRenderer:
    """Conversations in the timing of people, which fill dialogues of their own."""
    return ScenarioRenderer(replace(HUMAN, rooms=config.rooms), cache)


@pytest.fixture(scope="module")
def open_speech(
    config: DatagenConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ScenarioRenderer:
    """Open speech of the shipped recordings, and of a call made of them."""
    folder = tmp_path_factory.mktemp("calls")
    write_conversations(folder, recorded_rows(Corpus.open(), folder))
    families = dict.fromkeys(OPEN_FAMILIES, 1.0)
    changed = replace(OPEN, rooms=config.rooms, corpus=f"{OPEN.corpus},{folder}", families=families)
    return ScenarioRenderer(changed, cache)


@pytest.fixture(scope="module")
def verifier() -> AudioVerifier:
    return AudioVerifier(EVERYTHING.layout.sample_rate)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_scenario_sounds_as_its_transcript_says(
    renderer: ScenarioRenderer, verifier: AudioVerifier, family: str
) -> None:
    findings = verify_scenario(renderer, verifier, scenario=family, n_dialogues=2, align_every=2)
    assert findings.faults == []
    assert findings.n_segments
    assert findings.words["user"]


def test_every_family_that_ships_is_verified() -> None:
    """Every configuration draws from the three that are verified."""
    shipped = {
        name
        for file in ("demo", "smoke", "visual", "everything", "human", "open")
        for name in load_config(DatagenConfig, [f"datagen/{file}.yaml"], ["out=unused"]).weights
    }
    assert shipped == {*FAMILIES, *OPEN.weights, "conversation"}


def test_a_conversation_sounds_as_its_transcript_says(
    talk: ScenarioRenderer, verifier: AudioVerifier
) -> None:
    findings = verify_scenario(
        talk, verifier, scenario="conversation", n_dialogues=1, align_every=1
    )
    assert findings.faults == []
    assert min(findings.words["user"], findings.words["agent"]) > 20


@pytest.mark.parametrize("family", OPEN_FAMILIES)
def test_open_speech_sounds_as_its_transcript_says(
    open_speech: ScenarioRenderer, verifier: AudioVerifier, family: str
) -> None:
    findings = verify_scenario(open_speech, verifier, scenario=family, n_dialogues=3, align_every=0)
    assert findings.faults == []
    assert min(findings.words["user"], findings.words["agent"]) > 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", [*FAMILIES, *OPEN_FAMILIES, "conversation"])
def test_a_hundred_dialogues_of_every_scenario(
    renderer: ScenarioRenderer,
    talk: ScenarioRenderer,
    open_speech: ScenarioRenderer,
    verifier: AudioVerifier,
    family: str,
) -> None:
    where = talk if family == "conversation" else renderer
    where = open_speech if family in OPEN_FAMILIES else where
    findings = verify_scenario(where, verifier, scenario=family, n_dialogues=100, align_every=10)
    assert findings.faults == []


def _muted_word(dialogue: ScenarioDialogue) -> RenderedAudio:
    word = dialogue.timeline.agent[1]
    agent = dialogue.sound.agent.copy()
    agent[word.start_sample : word.end_sample] = 0
    return replace(dialogue.sound, agent=agent)


def _muted_user(dialogue: ScenarioDialogue) -> RenderedAudio:
    stems = dict(dialogue.sound.stems)
    stems["user"] = np.zeros_like(stems["user"])
    return replace(dialogue.sound, stems=stems)


def _stray_sound(dialogue: ScenarioDialogue) -> RenderedAudio:
    agent = dialogue.sound.agent.copy()
    agent[:200] = 50  # before anybody speaks
    return replace(dialogue.sound, agent=agent)


def _clipped(dialogue: ScenarioDialogue) -> RenderedAudio:
    user = dialogue.sound.user.copy()
    user[1000] = -32768
    return replace(dialogue.sound, user=user)


def _click(dialogue: ScenarioDialogue) -> RenderedAudio:
    clip = next(clip for clip in dialogue.script.clips if clip.lane == "agent")
    agent = dialogue.sound.agent.copy()
    agent[clip.start_sample] = 3000
    return replace(dialogue.sound, agent=agent)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_muted_word, "agent says '.*' at .* s, but at -200 dB"),
        (_muted_user, "user says '.*' at .* s, but at -200 dB"),
        (_stray_sound, "the agent sounds at 0.00 s without a word"),
        (_clipped, "the user clips"),
        (_click, "agent clicks by 0.09. around"),
    ],
)
def test_a_fault_is_found(
    renderer: ScenarioRenderer,
    verifier: AudioVerifier,
    spoil: Callable[[ScenarioDialogue], RenderedAudio],
    fault: str,
) -> None:
    dialogue = renderer.render("user_backchannel", 0)
    findings = AudioFindings()
    verifier.verify(replace(dialogue, sound=spoil(dialogue)), findings, align=False)
    assert any(re.search(fault, sentence) for sentence in findings.faults), findings.faults


def test_words_in_the_wrong_place_are_noticed(
    renderer: ScenarioRenderer, verifier: AudioVerifier
) -> None:
    dialogue = renderer.render("interjection", 0)
    stems = dict(dialogue.sound.stems)
    stems["user"] = np.roll(stems["user"], 16_000)
    right, wrong = AudioFindings(), AudioFindings()
    verifier.verify(dialogue, right, align=True)
    verifier.verify(
        replace(dialogue, sound=replace(dialogue.sound, stems=stems)), wrong, align=True
    )
    assert (right.share("user") or 0.0) > 0.9
    assert (wrong.share("user") or 0.0) < 0.5


def test_a_scenario_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="scenarios has 'quarrel', which datagen/everything.yaml"):
        run_verify_audio(VerifyAudioConfig(scenarios=("quarrel",)))


def test_what_only_asks_for_needs_no_weight(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the configurations of benchmarks, which draw one scenario and give no weights."""
    file = tmp_path / "one.yaml"
    file.write_text(
        f"only: [spoken_cue]\ncache: {cache}\nn_micro_turns: 80\n"
        "families: {spoken_cue: 0.0}\nrooms: {n_rooms: 2, method: tail}\n"
    )
    assert run_verify_audio(VerifyAudioConfig(config=str(file), n_dialogues=1, align_every=0)) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("spoken_cue")
