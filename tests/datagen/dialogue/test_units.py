"""Units begin and end with their sound, at a known level, in voices that differ."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import resample_poly

from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.waveform import perturb, resampled
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator
from microturn.model.streams.levels import energy_edges

RATE = 16_000


@pytest.mark.parametrize(("lead", "length"), [(0, 1600), (1600, 3200), (777, 5555)])
def test_edges_are_those_of_the_energy(lead: int, length: int) -> None:
    tone = 0.5 * np.sin(np.arange(length) * 0.3).astype(np.float32)
    audio = np.concatenate([np.zeros(lead), tone, np.zeros(2000)]).astype(np.float32)
    start, end = energy_edges(audio, RATE, threshold_db=-35.0)
    assert abs(start - lead) <= 0.0075 * RATE
    assert abs(end - lead - length) <= 0.0075 * RATE


def test_the_tail_below_the_threshold_is_cut() -> None:
    rng = np.random.default_rng(0)
    loud = rng.standard_normal(4000).astype(np.float32)
    audio = np.concatenate([loud, loud * 10 ** (-45 / 20)])
    assert energy_edges(audio, RATE, threshold_db=-35.0)[1] < 4100


def test_units_sound_at_their_edges(simulator: Simulator) -> None:
    for text in ("one", "six", "eight", "friday", "quebec", "one moment please"):
        unit = simulator.bank.agent(text)
        start, end = energy_edges(unit.audio, RATE, threshold_db=-36.0)
        assert start <= 0.015 * RATE
        assert unit.n_samples - end <= 0.015 * RATE
        assert unit.words[0].start_sample == 0
        assert unit.words[-1].end_sample == unit.n_samples
        assert " ".join(word.text for word in unit.words) == text


def test_a_word_is_cut_wherever_a_corpus_says_that_it_is(simulator: Simulator) -> None:
    recording = simulator.bank.agent("one moment please").source
    (whole,) = [one for one in simulator.bank.corpus.filter() if one.id == recording]
    for middle_s in np.arange(0.05, whole.duration_s - 0.05, 0.02):
        short = replace(whole.words[0], start_s=middle_s - 0.035, end_s=middle_s + 0.035)
        cut = simulator.bank.cut(replace(whole, id=f"{middle_s}", words=(short,), cuts=()), 0)
        assert 0.005 * RATE <= cut.n_samples <= 0.17 * RATE


def test_levels_are_as_configured(simulator: Simulator) -> None:
    voices = simulator.config.voices
    unit = simulator.bank.user("seven", simulator.bank.user_voices[0])
    level = 10 * np.log10(np.mean(np.square(unit.audio)))
    assert level == pytest.approx(voices.user_level_db, abs=0.5)


def test_a_faster_voice_is_shorter_and_higher(simulator: Simulator) -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    faster = perturb(tone, 1.25, tilt=0.0)
    assert len(faster) == pytest.approx(RATE / 1.25, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(faster))) * RATE / len(faster)
    assert peak == pytest.approx(250, abs=3)
    slow, fast = (simulator.bank.user("nine", f"asterisk-en@{f}") for f in ("0.84", "1.22"))
    assert slow.n_samples > 1.3 * fast.n_samples


def test_train_and_test_share_no_voice(simulator: Simulator) -> None:
    voices = simulator.config.voices
    assert not set(voices.train_factors) & set(voices.test_factors)
    train, test = (
        {p.utterance.speaker for p in simulator.bank.phrases(("okay", "yeah", "yes"), split=s)}
        for s in ("train", "test")
    )
    assert train
    assert test
    assert not train & test


def test_a_user_at_the_speed_of_the_recordings_is_not_the_agent(simulator: Simulator) -> None:
    voices = replace(simulator.config.voices, train_factors=(1.0,))
    bank = UnitBank(simulator.bank.corpus, replace(simulator.config, voices=voices))
    assert list(bank.user_voices) == ["asterisk-en@1"]
    user, agent = bank.user("seven", "asterisk-en@1"), bank.agent("seven")
    level = 10 * np.log10(np.mean(np.square(user.audio)) / np.mean(np.square(agent.audio)))
    assert level == pytest.approx(voices.user_level_db - voices.agent_level_db, abs=0.5)


def test_an_unknown_word_is_named(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="no recording of 'xylophone' by voices.agent"):
        simulator.bank.agent("xylophone")


@pytest.mark.parametrize(
    ("text", "spelling"), [("Hmmmm...", "hmm"), ("Ummm", "um"), ("Ohh, OKAY!", "oh okay")]
)
def test_sounds_have_one_spelling(text: str, spelling: str) -> None:
    assert canonical(text) == spelling


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 3), (160, 441), (47, 50), (3, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resampling_is_that_of_scipy(up: int, down: int, dtype: type) -> None:
    audio = np.random.default_rng(0).standard_normal(5001).astype(dtype)
    for _ in range(2):  # the second time with kept taps
        moved, expected = resampled(audio, up=up, down=down), resample_poly(audio, up, down)
        assert moved.dtype == expected.dtype
        assert np.array_equal(moved, expected)
