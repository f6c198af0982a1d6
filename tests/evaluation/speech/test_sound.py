"""Words told apart by their sound; here every word is noise of a colour of its own."""

from dataclasses import replace

import numpy as np
import pytest

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.agent_output import SpokenWord, Trace
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import SoundOutcome
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.sound import WordSounds
from microturn.model.streams import StreamLayout
from support.hand_made import HandMadeDialogue

LAYOUT = StreamLayout()
RATE = LAYOUT.sample_rate
COLOURS = {"low": (200, 800), "mid": (1000, 2000), "high": (3000, 6000)}


def word(text: str, start_s: float, length_s: float = 0.4) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def band_noise(text: str, n: int, seed: int) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    low, high = COLOURS[text]
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return (0.1 * np.fft.irfft(spectrum, n)).astype(np.float32)


def sound_of(words: list[SpokenWord], seed: int = 0, *, lag_s: float = 0.0) -> np.ndarray:
    audio = np.zeros(16 * RATE, np.float32)
    for i, item in enumerate(words):
        n = round((item.end_s - item.start_s) * RATE)
        first = round((item.start_s + lag_s) * RATE)
        audio[first : first + n] = band_noise(item.text, n, seed + i)
    return audio


@pytest.fixture
def sounds(script: HandMadeDialogue) -> WordSounds:
    """Learned from a dialogue in which one word is cut off once."""
    said = [word("low", 1.0), word("mid", 3.0), word("mid", 5.0, 0.1), word("high", 7.0)]
    dialogue = replace(script.dialogue(), agent_words=tuple(said))
    sample = replace(script.sample(), dialogue=dialogue, load_agent=lambda: sound_of(said))
    return WordSounds.of([sample], LAYOUT, ActivityConfig())


def test_every_word_is_learned_once_from_where_it_is_whole(sounds: WordSounds) -> None:
    assert sounds.texts == ("high", "low", "mid")
    assert all(30 <= length <= 36 for length in sounds.lengths)  # 0.4 s of 80 frames per second


def test_words_are_told_by_their_sound_not_by_their_text(sounds: WordSounds) -> None:
    said = [word("high", 2.0), word("low", 4.0), word("mid", 6.0)]
    assert sounds.nearest(sound_of(said, 9, lag_s=0.05), said) == ("high", "low", "mid")
    claimed = [replace(item, text="low") for item in said]
    assert sounds.nearest(sound_of(said, 9), claimed) == ("high", "low", "mid")


def test_what_cannot_be_told_is_not_judged(sounds: WordSounds) -> None:
    audio = sound_of([word("high", 2.0), word("low", 2.3)])
    close = [word("high", 2.0), word("low", 2.3)]
    assert sounds.nearest(audio, close) == (None, None)
    assert sounds.nearest(audio, [word("high", 9.0)]) == (None,)  # no sound
    assert sounds.nearest(audio, [word("other", 2.0)]) == (None,)  # no recording
    assert sounds.nearest(audio, []) == ()


def test_a_set_without_words_judges_nothing(script: HandMadeDialogue) -> None:
    sounds = WordSounds.of([script.sample()], LAYOUT, ActivityConfig())
    assert sounds.nearest(sound_of([word("low", 1.0)]), [word("low", 1.0)]) == (None,)


def test_cut_words_are_left_out_of_the_score(script: HandMadeDialogue) -> None:
    script.event("interruption", 5.0, 6.0, "stop", window=(5.0, 5.8))
    said = script.perform(word("low", 2.0), word("mid", 4.8), word("high", 8.0))
    trace = Trace.of(said, ActivityConfig(), ("low", "low", "mid"))
    scene = ScoredDialogue(script.dialogue(), trace, script.scene(said).windows)
    (outcome,) = (o for o in score(scene) if isinstance(o, SoundOutcome))
    assert (outcome.n_right, outcome.n_judged) == (1, 2)
