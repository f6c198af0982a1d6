"""Words of the recorded voice are found in sound, at their times; nothing else is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.evaluation.agents.baselines import Oracle
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.reconstruct.reconstruction import Stopwatch, resynthesise
from microturn.evaluation.scoring.agent_output import AgentOutput, HeardWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.events import word_errors
from microturn.evaluation.speech.voice import AgentVoice, words_needed
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import load_suite
from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.streams.mel import quantise_fine
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.registry import build_vocoder
from support.hand_made import HandMadeDialogue

ACTIVITY = ActivityConfig()
SUITES = ("translation", "fdb_v3")
N_DIALOGUES = 4
RATE = 16_000
Sets = dict[str, tuple[list[HeldOutDialogue], AgentVoice]]


@pytest.fixture(scope="module")
def sets(cache: Path) -> Sets:
    found = {}
    for name in SUITES:
        held_out = held_out_set(load_suite(name), cache, n_dialogues=N_DIALOGUES, workers=1)
        dialogues = list(held_out.read())
        needed = words_needed(one.dialogue for one in dialogues)
        found[name] = dialogues, AgentVoice.of(dialogues, ACTIVITY, needed=needed)
    return found


def played(sets: Sets) -> Iterator[tuple[AgentOutput, AgentVoice]]:
    for dialogues, voice in sets.values():
        for output in Oracle().perform(dialogues):
            yield output, voice


def texts(words: tuple[HeardWord, ...]) -> list[str]:
    return [word.text for word in words]


def test_word_errors_on_the_recorded_voice_count_insertions(sets: Sets) -> None:
    errors = expected = 0
    off_s = []
    for output, voice in played(sets):
        said = [word.text for word in output.words]
        found = voice.recognise(output)
        errors += word_errors([word.text for word in found], said)
        expected += len(said)
        if [word.text for word in found] == said:
            pairs = zip(found, output.words, strict=True)
            off_s += [abs(sound.start_s - word.start_s) for sound, word in pairs]
    assert expected > 60
    assert errors / expected <= 0.02
    assert max(off_s) <= 0.1


def noise(output: AgentOutput, voice: dict[str, np.ndarray]) -> np.ndarray:
    return _shaped(output, np.random.default_rng(0).standard_normal(len(output.audio)))


def tone(output: AgentOutput, voice: dict[str, np.ndarray]) -> np.ndarray:
    return _shaped(output, np.sin(2 * np.pi * 300 * np.arange(len(output.audio)) / RATE))


def silence(output: AgentOutput, voice: dict[str, np.ndarray]) -> np.ndarray:
    return np.zeros_like(output.audio)


def backwards(output: AgentOutput, voice: dict[str, np.ndarray]) -> np.ndarray:
    audio = output.audio.copy()
    for word in output.words:
        first, last = round(word.start_s * RATE), round(word.end_s * RATE)
        audio[first:last] = audio[first:last][::-1]
    return audio


def other_words(output: AgentOutput, voice: dict[str, np.ndarray]) -> np.ndarray:
    """Under every word the recording of the next one in the alphabet."""
    audio, names = np.zeros_like(output.audio), sorted(voice)
    for word in output.words:
        sound = voice[names[(names.index(word.text) + 1) % len(names)]]
        first = round(word.start_s * RATE)
        audio[first : first + len(sound)] = sound[: max(len(audio) - first, 0)]
    return audio


def _shaped(output: AgentOutput, sound: np.ndarray) -> np.ndarray:
    audio = np.zeros_like(output.audio)
    for word in output.words:
        first, last = round(word.start_s * RATE), round(word.end_s * RATE)
        audio[first:last] = 0.1 * sound[first:last]
    return audio


def test_what_does_not_say_a_word_is_not_heard_as_it(sets: Sets) -> None:
    for dialogues, voice in sets.values():
        outputs = list(Oracle().perform(dialogues))
        recordings = {
            word.text: output.audio[round(word.start_s * RATE) : round(word.end_s * RATE)]
            for output in outputs
            for word in output.words
        }
        for change in (noise, tone, silence, backwards, other_words):
            said = [
                word
                for output in outputs
                for sound in voice.listen(replace(output, audio=change(output, recordings)))
                for word in output.words
                if sound.text == word.text and abs(sound.start_s - word.start_s) < 0.2
            ]
            # Short words, and words of one hiss ("with"), are the same backwards.
            long = [word for word in said if word.end_s - word.start_s > 0.2]
            n_allowed = 0.05 * sum(len(output.words) for output in outputs)
            assert len(long) <= (n_allowed if change is backwards else 0), long


def test_a_softer_or_louder_voice_says_the_same(sets: Sets) -> None:
    output, voice = next(played(sets))
    for gain in (0.5, 2.0):
        louder = replace(output, audio=gain * output.audio)
        assert texts(voice.listen(louder)) == [word.text for word in output.words]


def test_griffin_lim_does_not_hide_the_words(sets: Sets) -> None:
    layout = StreamLayout()
    vocoder = build_vocoder(VocoderConfig(), layout)
    errors = expected = 0
    for output, voice in played(sets):
        lane = quantise_fine(fine_mel(output.audio, layout))
        made = resynthesise(vocoder, lane, watch=Stopwatch())
        found = texts(voice.listen(replace(output, audio=made)))
        errors += word_errors(found, [word.text for word in output.words])
        expected += len(output.words)
        if expected > 30:
            break
    assert errors / expected <= 0.05


def test_a_voice_without_words_hears_none(script: HandMadeDialogue) -> None:
    voice = AgentVoice.of([script.sample()], ACTIVITY)
    said = script.perform(*script.agent)
    assert voice.listen(said) == ()
    script.says("one two", 1.0)
    (sound,) = voice.listen(script.recorded())
    assert sound.text == ""
