"""What is stored is what was asked for: stems, noise level, echo, digital silence."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from microturn.datagen.acoustics import mix
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.pipeline import SimulatedDialogue, Simulator
from microturn.model.streams.pcm import from_pcm16

RATE = 16_000
Build = Callable[[DatagenConfig], Simulator]


@pytest.fixture(scope="module")
def simulator(config: DatagenConfig, simulator_for: Build) -> Simulator:
    """One that keeps the stems."""
    return simulator_for(replace(config, stems=True))


def dialogue_with(simulator: Simulator, index: int, **channel: object) -> SimulatedDialogue:
    """Dialogue `index` through another channel."""
    recipe: Recipe = simulator.recipe(index)
    recipe = replace(recipe, channel=replace(recipe.channel, **channel))
    script, families, conditions = simulator.script(recipe)
    sound = simulator.renderer.render(recipe, script, conditions=conditions)
    return SimulatedDialogue(
        recipe=recipe,
        script=script,
        families=families,
        conditions=conditions,
        sound=sound,
        lanes=simulator.dialogue(index).lanes,
    )


@pytest.mark.parametrize("index", range(4))
def test_the_microphone_is_the_sum_of_its_stems(simulator: Simulator, index: int) -> None:
    dialogue = simulator.dialogue(index)
    total = sum(dialogue.sound.stems.values())
    assert np.abs(from_pcm16(dialogue.sound.user) - total).max() <= 0.51 / 32768


def test_keeping_stems_changes_nothing(
    config: DatagenConfig, simulator: Simulator, simulator_for: Build
) -> None:
    without = simulator_for(config)
    for index in range(3):
        kept, plain = simulator.dialogue(index).sound, without.dialogue(index).sound
        assert plain.stems.keys() == {"user"} < kept.stems.keys()
        for name in ("user", "agent"):
            assert getattr(kept, name).tobytes() == getattr(plain, name).tobytes()


@pytest.mark.parametrize("snr_db", [5.0, 20.0])
@pytest.mark.parametrize("kind", ["white", "brown", "hum", "babble"])
def test_the_noise_has_the_level_asked_for(simulator: Simulator, kind: str, snr_db: float) -> None:
    dialogue = dialogue_with(simulator, 0, noise=kind, snr_db=snr_db, zero_s=0.0)
    stems = dialogue.sound.stems
    spans = [(word.start_sample, word.end_sample) for word in dialogue.timeline.user]
    user = mix.active_power(stems["user"], spans)
    noise = mix.active_power(stems["noise"], [(0, len(stems["noise"]))])
    assert 10 * np.log10(user / noise) == pytest.approx(snr_db, abs=0.1)


def test_the_echo_is_the_agent_later_and_weaker(simulator: Simulator) -> None:
    dialogue = dialogue_with(simulator, 1, echo_db=-30.0, echo_ms=100.0, zero_s=0.0, gain_db=-8.0)
    agent, echo = from_pcm16(dialogue.sound.agent), dialogue.sound.stems["echo"]
    lag = round(0.1 * RATE)
    assert not echo[:lag].any()
    silent = np.flatnonzero(agent[: len(agent) - lag] == 0.0)
    assert np.abs(echo[silent + lag]).max() <= 1 / 32768
    assert np.abs(echo).max() == pytest.approx(np.abs(agent).max() * 10 ** (-30 / 20), rel=0.05)


def test_without_echo_the_agent_is_not_in_the_microphone(simulator: Simulator) -> None:
    dialogue = dialogue_with(simulator, 1, echo_db=None)
    assert not dialogue.sound.stems["echo"].any()


def test_only_drawn_stretches_are_digitally_silent(simulator: Simulator) -> None:
    found = 0
    for index in range(12):
        dialogue = dialogue_with(simulator, index, noise="", zero_s=1.0)
        zeros = dialogue.sound.channel.digital_zero_s
        audio = dialogue.sound.user
        for start, end in zeros:
            assert not audio[round(start * RATE) : round(end * RATE)].any()
        found += len(zeros)
        plain = dialogue_with(simulator, index, noise="", zero_s=0.0).sound.user
        assert np.convolve(plain == 0, np.ones(400), mode="valid").max() < 400
    assert found


def test_the_agents_voice_is_silent_outside_its_words(simulator: Simulator) -> None:
    for index in range(4):
        dialogue = simulator.dialogue(index)
        outside = np.ones(len(dialogue.sound.agent), bool)
        for clip in dialogue.script.clips:
            if clip.lane == "agent":
                outside[clip.start_sample : clip.end_sample] = False
        assert not dialogue.sound.agent[outside].any()


def test_users_sound_where_their_words_are(simulator: Simulator) -> None:
    dialogue = dialogue_with(simulator, 2, noise="", n_overlays=0, echo_db=None, zero_s=0.0)
    stem = dialogue.sound.stems["user"]
    for start, end in dialogue.timeline.stretches("user"):
        inside = np.mean(np.square(stem[start:end]))
        before = np.mean(np.square(stem[max(0, start - 400) : max(1, start - 40)]))
        assert inside > 30 * before
