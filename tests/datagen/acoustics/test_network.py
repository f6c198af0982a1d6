"""Packet loss: the loss rate, concealment without clicks, micro-turns with missing input."""

import numpy as np
import pytest

from microturn.datagen.acoustics import network
from microturn.model.streams import StreamLayout

RATE = 16_000
PACKET = 320


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("burst", [1.0, 2.0])
def test_so_many_packets_are_lost(rate: float, burst: float) -> None:
    rng = np.random.default_rng(0)
    lost = network.losses(rng, 400_000, rate=rate, burst=burst, max_burst=3)
    assert lost.mean() == pytest.approx(rate, rel=0.05)
    lengths = np.array(
        [(b - a) // PACKET for a, b in network.spans_of(lost, PACKET, n_samples=len(lost) * PACKET)]
    )
    cut = sum((1 - 1 / burst) ** k for k in range(3))  # mean of what is cut off at three
    assert lengths.mean() == pytest.approx(cut / (1 - rate) ** 0.5, rel=0.15)
    assert not network.losses(rng, 100, rate=0.0, burst=1.0, max_burst=3).any()


def test_spans_cover_what_is_lost() -> None:
    lost = np.zeros(10, np.bool_)
    lost[[0, 1, 4, 9]] = True
    assert network.spans_of(lost, PACKET, n_samples=3100) == ((0, 640), (1280, 1600), (2880, 3100))


def test_micro_turns_of_which_half_is_lost_are_missing_input() -> None:
    layout = StreamLayout()
    step = layout.samples_per_micro_turn
    spans = [(step // 2, step), (2 * step, 2 * step + step // 2 - 320), (4 * step, 6 * step)]
    assert network.missing_micro_turns(spans, layout, n=8, share=0.5) == (0, 4, 5)


def voice(n: int) -> np.ndarray:
    """A periodic sound with a period of 125 samples."""
    time = np.arange(n)
    parts = [np.sin(2 * np.pi * k * time / 125 + k) / k for k in range(1, 12)]
    return (0.1 * np.sum(parts, axis=0)).astype(np.float32)


def test_a_hole_in_a_vowel_is_filled_with_its_period() -> None:
    audio = voice(8000)
    filled = network.concealed(audio, [(4000, 4320)], method="pitch", sample_rate=RATE)
    held = slice(4000, 4000 + RATE // 100)
    np.testing.assert_allclose(filled[held], audio[held], atol=2e-3)
    assert np.abs(np.diff(filled)).max() < 1.5 * np.abs(np.diff(audio)).max()  # no click


@pytest.mark.parametrize("method", ["pitch", "repeat", "zero"])
def test_filling_holes_touches_nothing_else(method: str) -> None:
    audio = np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    spans = [(0, 320), (640, 960), (3200, 9600), (15_680, 16_000)]
    filled = network.concealed(audio, spans, method=method, sample_rate=RATE)
    same = np.ones(len(audio), np.bool_)
    for start, end in spans:
        same[start : end + round(network.JOIN_S * RATE)] = False
    assert np.array_equal(filled[same], audio[same])
    assert len(filled) == len(audio)
    assert not filled[3200 + round(0.07 * RATE) : 9600].any()  # a long hole falls silent
    assert not filled[:320].any()  # nothing to fill the first one with


def test_nothing_lost_nothing_changed() -> None:
    audio = voice(1000)
    assert np.array_equal(network.concealed(audio, [], method="pitch", sample_rate=RATE), audio)
