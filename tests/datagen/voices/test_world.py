"""A resynthesised recording has the pitch, formants, tempo and intonation that were asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.labels.voice_names import (
    VoiceTransform,
    speaker_of,
    speed_of,
    transform_of,
    variant_of,
)
from microturn.datagen.voices import analyses
from microturn.datagen.voices.analyses import VoiceAnalyses
from microturn.datagen.voices.world import VoiceAnalysis, analyse, resynthesise
from microturn.model.streams.pcm import Audio

RATE = 16_000


@pytest.fixture(scope="module")
def recording() -> Audio:
    """A sentence of 2 to 4 s by the shipped English voice."""
    found = Corpus.open().filter(speaker="asterisk-en")
    sentence = next(u for u in found if 2 < u.duration_s < 4 and len(u.words) > 6)
    return Corpus.open().load(sentence)


@pytest.fixture(scope="module")
def analysis(recording: Audio) -> VoiceAnalysis:
    return analyse(recording, RATE, pitch_method="dio")


@pytest.fixture(scope="module")
def neutral(analysis: VoiceAnalysis) -> VoiceTransform:
    """The transform that changes nothing."""
    return VoiceTransform(pitch_hz=_median_hz(analysis), formants=1.0, tempo=1.0, intonation=1.0)


def _median_hz(analysis: VoiceAnalysis) -> float:
    return float(np.median(analysis.pitch_hz[analysis.pitch_hz > 0]))


def _again(audio: Audio) -> VoiceAnalysis:
    return analyse(audio, RATE, pitch_method="harvest")


def _loudness(audio: Audio, n: int) -> np.ndarray:
    """The course of the level in `n` equal stretches."""
    parts = np.array_split(audio.astype(np.float64), n)
    return np.log10([np.mean(part**2) + 1e-7 for part in parts])


def test_without_a_change_the_sound_is_much_the_same(
    recording: Audio, analysis: VoiceAnalysis, neutral: VoiceTransform
) -> None:
    again = resynthesise(analysis, neutral)
    assert abs(len(again) - len(recording)) <= 0.006 * RATE
    n = len(recording) // 320
    assert np.corrcoef(_loudness(recording, n), _loudness(again, n))[0, 1] > 0.95


@pytest.mark.parametrize("pitch_hz", [95.0, 240.0])
def test_pitch_is_as_asked_for(
    pitch_hz: float, analysis: VoiceAnalysis, neutral: VoiceTransform
) -> None:
    """Compared where both the recording and its copy are found to be voiced."""
    spoken = _again(resynthesise(analysis, replace(neutral, pitch_hz=pitch_hz))).pitch_hz
    before = analysis.pitch_hz[: len(spoken)]
    voiced = (spoken[: len(before)] > 0) & (before > 0)
    assert voiced.sum() > 100
    factors = spoken[: len(before)][voiced] / before[voiced]
    assert np.median(factors) == pytest.approx(pitch_hz / neutral.pitch_hz, rel=0.02)
    assert np.percentile(factors, [20, 80]) == pytest.approx(np.median(factors), rel=0.1)


@pytest.mark.parametrize("tempo", [0.7, 1.4])
def test_every_moment_moves_with_the_tempo(
    tempo: float, recording: Audio, analysis: VoiceAnalysis, neutral: VoiceTransform
) -> None:
    spoken = resynthesise(analysis, replace(neutral, tempo=tempo))
    assert len(spoken) == pytest.approx(len(recording) / tempo, abs=0.008 * RATE)
    assert _median_hz(_again(spoken)) == pytest.approx(neutral.pitch_hz, rel=0.04)
    n = len(recording) // 480
    whole = spoken[: round(len(recording) / tempo)]
    assert np.corrcoef(_loudness(recording, n), _loudness(whole, n))[0, 1] > 0.93


@pytest.mark.parametrize("formants", [0.8, 1.2])
def test_formants_move_along_frequency(
    formants: float, analysis: VoiceAnalysis, neutral: VoiceTransform
) -> None:
    """On a logarithmic axis the mean envelope is shifted by the logarithm of the factor."""
    spoken = _again(resynthesise(analysis, replace(neutral, formants=formants)))
    octaves = np.linspace(np.log2(300), np.log2(4500), 400)

    def shape(of: VoiceAnalysis) -> np.ndarray:
        import pyworld

        voiced = of.envelope[of.pitch_hz > 0].astype(np.float64)
        spectra = np.log(pyworld.decode_spectral_envelope(voiced, RATE, 1024)).mean(axis=0)
        hz = np.linspace(0, RATE / 2, spectra.size)
        return np.gradient(np.interp(octaves, np.log2(hz + 1e-9), spectra))

    before, after = shape(analysis), shape(spoken)
    shifts = np.arange(-60, 61)
    fit = [
        np.corrcoef(before[60:-60], after[60 + shift : len(after) - 60 + shift])[0, 1]
        for shift in shifts
    ]
    moved = shifts[int(np.argmax(fit))] * (octaves[1] - octaves[0])
    assert moved == pytest.approx(np.log2(formants), abs=0.08)


def test_intonation_is_scaled_around_the_median(
    analysis: VoiceAnalysis, neutral: VoiceTransform
) -> None:
    def width(intonation: float) -> float:
        spoken = _again(resynthesise(analysis, replace(neutral, intonation=intonation)))
        octaves = np.log2(spoken.pitch_hz[spoken.pitch_hz > 0])
        return float(np.subtract(*np.percentile(octaves, [85, 15])))

    assert width(1.6) / width(0.4) == pytest.approx(4.0, rel=0.3)


def test_a_part_is_that_of_the_whole(analysis: VoiceAnalysis, neutral: VoiceTransform) -> None:
    slow = replace(neutral, tempo=0.8)
    whole = resynthesise(analysis, slow)
    part = resynthesise(analysis, slow, start_sample=RATE, end_sample=RATE + 8000)
    assert len(part) == 10_000
    same = whole[20_000:30_000]
    assert np.corrcoef(_loudness(part, 25), _loudness(same, 25))[0, 1] > 0.97


@pytest.mark.parametrize("n", [0, 1, 400])
def test_the_shortest_recordings_have_a_voice_too(n: int, neutral: VoiceTransform) -> None:
    """Silence has no pitch to move."""
    analysed = analyse(np.zeros(n, np.float32), RATE, pitch_method="dio")
    spoken = resynthesise(analysed, neutral)
    assert np.isfinite(spoken).all()
    assert float(np.abs(spoken).max(initial=0.0)) < 1e-3


def test_synthesis_has_no_memory(analysis: VoiceAnalysis, neutral: VoiceTransform) -> None:
    """The noise of a breath is the same, whatever was spoken before."""
    first = resynthesise(analysis, neutral)
    resynthesise(analysis, replace(neutral, tempo=1.3))
    assert np.array_equal(first, resynthesise(analysis, neutral))


# --- the cache ---------------------------------------------------------------------------------
def test_a_recording_is_analysed_once(
    tmp_path: Path, recording: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = VoiceAnalyses(tmp_path, pitch_method="dio").of(recording, RATE)
    monkeypatch.setattr(analyses, "analyse", _never)
    cache = VoiceAnalyses(tmp_path, pitch_method="dio")
    again = cache.of(recording, RATE)
    assert again is cache.of(recording.copy(), RATE)  # in memory
    for name in ("pitch_hz", "envelope", "aperiodicity"):
        assert np.array_equal(getattr(first, name), getattr(again, name))


def _never(*args: object, **names: object) -> VoiceAnalysis:
    raise AssertionError("it is analysed already")


def test_another_method_or_recording_is_another_analysis(tmp_path: Path, recording: Audio) -> None:
    VoiceAnalyses(tmp_path, pitch_method="dio").of(recording, RATE)
    VoiceAnalyses(tmp_path, pitch_method="harvest").of(recording, RATE)
    VoiceAnalyses(tmp_path, pitch_method="dio").of(recording[:RATE], RATE)
    assert len(list(tmp_path.rglob("*.npz"))) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of a file", b"\x93NUMPY"])
def test_half_a_file_is_analysed_again(tmp_path: Path, recording: Audio, content: bytes) -> None:
    first = VoiceAnalyses(tmp_path, pitch_method="dio").of(recording, RATE)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(content)
    again = VoiceAnalyses(tmp_path, pitch_method="dio").of(recording, RATE)
    assert np.array_equal(first.envelope, again.envelope)
    assert path.stat().st_size > 1000


def test_memory_is_bounded(
    tmp_path: Path, recording: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyses, "_MEMORY_BYTES", 100_000)
    cache = VoiceAnalyses(tmp_path, pitch_method="dio")
    for n in range(6):
        cache.of(recording[n * 100 : RATE], RATE)
    assert cache._kept_bytes <= 100_000
    assert cache._kept_bytes == sum(kept.n_bytes for kept in cache._kept.values())


# --- names -------------------------------------------------------------------------------------
def test_the_name_of_a_voice_says_what_it_is() -> None:
    transform = VoiceTransform(pitch_hz=118.4, formants=1.1, tempo=0.95, intonation=1.4)
    voice = f"asterisk-en{transform.variant}"
    assert voice == "asterisk-en~p118.4f1.1t0.95i1.4"
    assert transform_of(voice) == transform
    assert (speaker_of(voice), variant_of(voice)) == ("asterisk-en", "~p118.4f1.1t0.95i1.4")
    assert speed_of(voice) == 0.95
    assert speed_of("asterisk-en@1.12") == 1.12
    assert speaker_of("asterisk-en@1.12") == "asterisk-en"
    assert transform_of("asterisk-en@1.12") is None


@pytest.mark.parametrize("name", ["asterisk-en", "a~b", "x@home", "~p1", ""])
def test_other_names_are_speakers(name: str) -> None:
    assert speaker_of(name) == name
    assert variant_of(name) == ""
    assert speed_of(name) == 1.0
