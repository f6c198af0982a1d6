"""The network that is written out here is Silero's, and it hears speech and nothing else."""

import warnings
from importlib.metadata import distribution

import numpy as np
import pytest
import torch

from microturn.datagen.corpora.home import open_corpora
from microturn.evaluation.speech import silero


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A second of silence, a recorded phrase, a second of silence."""
    corpus = open_corpora("", sample_rate=silero.SAMPLE_RATE)
    spoken = next(u for u in corpus if 1.0 < u.duration_s < 4.0 and u.language == "en")
    audio = corpus.load(spoken)
    pad = np.zeros(silero.SAMPLE_RATE, np.float32)
    return np.concatenate([pad, 0.5 * audio / np.abs(audio).max(), pad]).astype(np.float32)


def test_it_gives_the_numbers_of_the_package(speech: np.ndarray) -> None:
    path = distribution("silero-vad").locate_file("silero_vad/data/silero_vad.jit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(str(path))
        found = silero.speech_probabilities(speech)
        padded = np.zeros(len(found) * silero.FRAME, np.float32)
        padded[: len(speech)] = speech
        frames = torch.from_numpy(padded).view(-1, 1, silero.FRAME)
        script.reset_states()
        with torch.inference_mode():
            theirs = np.array([float(script(frame, silero.SAMPLE_RATE)) for frame in frames])
    assert np.abs(found - theirs).max() < 1e-4


@pytest.mark.parametrize("piece", [3200, 500, 7000])
def test_it_hears_the_same_piece_by_piece(speech: np.ndarray, piece: int) -> None:
    whole = silero.speech_probabilities(speech)
    stream = silero.SpeechStream()
    parts = [stream.hear(speech[at : at + piece]) for at in range(0, len(speech), piece)]
    found = np.concatenate(parts)
    assert len(found) == len(speech) // silero.FRAME
    assert np.abs(found - whole[: len(found)]).max() < 1e-5


def test_it_hears_speech_and_not_silence(speech: np.ndarray) -> None:
    found = silero.speech_probabilities(speech)
    second = silero.SAMPLE_RATE // silero.FRAME
    assert found[second:-second].max() > 0.9
    assert found[: second - 2].max() < 0.3


def test_speech_is_found_where_it_is_and_nothing_in_hum_clicks_and_noise(
    speech: np.ndarray,
) -> None:
    spans = silero.speech_spans(speech, silero.SAMPLE_RATE)
    end_s = len(speech) / silero.SAMPLE_RATE
    assert sum(end - start for start, end in spans) > 0.5 * (end_s - 2.0)
    assert spans[0][0] >= 0.9
    assert spans[-1][1] <= end_s - 0.5
    half = silero.speech_spans(speech[::2].copy(), silero.SAMPLE_RATE // 2)
    assert half[0][0] == pytest.approx(spans[0][0], abs=0.1)

    rng = np.random.default_rng(0)
    times = np.arange(3 * silero.SAMPLE_RATE) / silero.SAMPLE_RATE
    clicks = np.zeros(len(times), np.float32)
    clicks[::4000] = 0.8
    for sound in (0.3 * np.sin(2 * np.pi * 120 * times), clicks, 0.1 * rng.normal(size=len(times))):
        found = silero.speech_spans(sound.astype(np.float32), silero.SAMPLE_RATE)
        assert sum(end - start for start, end in found) < 0.1


def test_no_sound_has_no_probabilities() -> None:
    assert silero.speech_probabilities(np.zeros(0, np.float32)).shape == (0,)
