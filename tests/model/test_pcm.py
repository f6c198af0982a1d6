"""16-bit samples: one scale, rounding to the nearest step, clipping."""

import numpy as np

from microturn.model.streams.pcm import from_pcm16, to_pcm16

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


def test_every_sample_comes_back() -> None:
    audio = from_pcm16(EVERY_SAMPLE)
    assert audio.dtype == np.float32
    assert audio[0] == -1.0
    assert np.array_equal(to_pcm16(audio), EVERY_SAMPLE)
    assert np.array_equal(to_pcm16(audio.astype(np.float64)), EVERY_SAMPLE)


def test_values_between_steps_are_rounded_half_to_even_and_others_clipped() -> None:
    steps = np.array([0.5, 1.5, 2.4, -0.5, -2.6], np.float32) / 32768
    assert to_pcm16(steps).tolist() == [0, 2, 2, 0, -3]
    assert to_pcm16(np.array([1.0, 2.0, -2.0], np.float32)).tolist() == [32767, 32767, -32768]


def test_the_argument_stays_as_it_was() -> None:
    audio = np.array([0.25, -0.3], np.float32)
    before = audio.copy()
    to_pcm16(audio)
    assert np.array_equal(audio, before)
