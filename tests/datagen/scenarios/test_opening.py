"""A session reads before a conversation what a dialogue of a shard begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.pipeline import Simulator
from microturn.inference.audio import read_recording
from microturn.model.streams import EOS, IDLE
from microturn.model.streams.opening import (
    MAX_VOICE_S,
    MIN_VOICE_S,
    VoicePrompt,
    cut_voice,
    pack_opening,
)
from microturn.model.streams.pcm import from_pcm16

PROMPTED = load_config(
    DatagenConfig,
    ["datagen/open.yaml"],
    [
        *("out=unused", "n_micro_turns=120", "channel.overlay_probability=0"),
        *("voices.voice_prompt_s=[2, 4]", "scenarios.instructed_share=1"),
    ],
)
LAYOUT = PROMPTED.layout
RATE, STEP = LAYOUT.sample_rate, LAYOUT.samples_per_micro_turn


@pytest.fixture(scope="module")
def prompted(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> Simulator:
    return simulator_for(replace(PROMPTED, rooms=config.rooms))


@pytest.mark.parametrize("index", range(3))
def test_the_lanes_are_those_of_a_shard_with_the_same_voice(
    prompted: Simulator, index: int
) -> None:
    dialogue = prompted.dialogue(index)
    ((_, free),) = dialogue.timeline.without_loss
    clips = [clip for clip in dialogue.script.clips if clip.end_sample <= free]
    start, end = clips[0].start_sample, max(clip.end_sample for clip in clips)
    words = [word for word in dialogue.timeline.agent if word.start_sample < end]
    instructions = dialogue.timeline.text_in[0].text.words
    lanes = pack_opening(
        voice=VoicePrompt(
            audio=from_pcm16(dialogue.sound.agent[start:end]),
            text=" ".join(word.text for word in words),
        ),
        instructions=instructions,
        layout=LAYOUT,
        tokenizer=prompted.tokenizer,
    )
    n = lanes.n_micro_turns
    assert 12 < n <= free // STEP
    for name in ("audio_out", "text_in", "heard"):
        assert np.array_equal(lanes[name], dialogue.lanes[name][:n]), name
    assert lanes["audio_out"].any()
    assert lanes["text_in"].any()
    said, stored = (
        [i for i in of["say"][:n].reshape(-1).tolist() if i != IDLE]
        for of in (lanes, dialogue.lanes)
    )
    assert said[-1] == stored[-1] == EOS
    assert said[:-1] == stored[: len(said) - 1]  # from the onset on, as far as they fit
    assert np.array_equal(lanes["say"] == EOS, dialogue.lanes["say"][:n] == EOS)


def test_a_recording_of_the_corpus_becomes_the_sound_that_simulation_makes_of_it(
    prompted: Simulator, tmp_path: Path
) -> None:
    assert prompted.sources is not None
    speech = prompted.sources.speech
    line = next(
        line
        for chapter in speech.speakers[speech.agents[0]].chapters
        for line in chapter
        if MIN_VOICE_S + 0.5 <= line.duration_s <= MAX_VOICE_S
    )
    corpus = speech.bank.corpus
    soundfile.write(tmp_path / "voice.wav", corpus.load(corpus[line.id]), RATE, subtype="FLOAT")
    recording = read_recording(tmp_path / "voice.wav", sample_rate=RATE, one_voice=True)
    voice = cut_voice(recording.samples, name="voice", text="", layout=LAYOUT)
    assert np.array_equal(voice.audio, speech.agent_unit(line.id).audio)
