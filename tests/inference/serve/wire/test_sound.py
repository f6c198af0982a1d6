"""Sound at the edge: the resampler's delay and level, and pieces of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.audio import encode_pcm16
from microturn.inference.serve.wire.sound import (
    LoudspeakerSound,
    MicrophoneSound,
    StreamResampler,
)
from microturn.model.streams.pcm import Audio

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 9_000).astype(np.float32)


def tone(hz: float, rate: int, *, delay_s: float = 0.0, seconds: float = 1.0) -> Audio:
    times = np.arange(round(seconds * rate)) / rate - delay_s
    return np.sin(2 * np.pi * hz * times).astype(np.float32)


@pytest.mark.parametrize(("rate", "new_rate"), [(24_000, 16_000), (16_000, 24_000)])
@pytest.mark.parametrize("hz", [100, 1_000, 7_000])
def test_a_tone_comes_out_as_it_was_a_millisecond_later(
    rate: int, new_rate: int, hz: float
) -> None:
    resampler = StreamResampler(rate=rate, new_rate=new_rate)
    assert resampler.delay_s == 0.001
    found = resampler.push(tone(hz, rate))
    expected = tone(hz, new_rate, delay_s=resampler.delay_s)
    assert len(found) == new_rate
    assert np.abs(found - expected)[100:].max() < 1e-3


@pytest.mark.parametrize("hz", [9_000, 11_000])
def test_what_the_lower_rate_cannot_hold_is_gone(hz: float) -> None:
    found = StreamResampler(rate=24_000, new_rate=16_000).push(tone(hz, 24_000))
    assert np.abs(found[100:]).max() < 2e-3


@given(st.lists(st.integers(0, 4_000), max_size=12), st.sampled_from([16_000, 24_000]))
def test_pieces_do_not_change_a_bit(sizes: list[int], rate: int) -> None:
    new_rate = 40_000 - rate
    whole = StreamResampler(rate=rate, new_rate=new_rate).push(NOISE)
    resampler, found, start = StreamResampler(rate=rate, new_rate=new_rate), [], 0
    for size in [*sizes, len(NOISE)]:
        found.append(resampler.push(NOISE[start : start + size]))
        start += size
    assert np.array_equal(np.concatenate(found), whole)


def microphone(rate: int) -> MicrophoneSound:
    return MicrophoneSound(rate=rate, layout_rate=16_000, samples_per_micro_turn=3_200)


def test_a_micro_turn_of_the_client_is_one_of_the_model() -> None:
    pcm = encode_pcm16(NOISE[:4_800])
    hearing = microphone(24_000)
    assert hearing.push(pcm[:9_598], muted=False) == []
    (piece,) = hearing.push(pcm[9_598:], muted=False)
    assert piece.shape == (3_200,)
    speaking = LoudspeakerSound(rate=24_000, layout_rate=16_000)
    assert len(speaking.push(piece)) == len(pcm)


def test_equal_rates_change_nothing_and_mute_is_silence() -> None:
    samples = np.round(NOISE[:6_400] * 32_768) / np.float32(32_768)
    hearing = microphone(16_000)
    (first,) = hearing.push(encode_pcm16(samples[:3_200]), muted=False)
    assert np.array_equal(first, samples[:3_200])
    (second,) = hearing.push(encode_pcm16(samples[3_200:]), muted=True)
    assert not second.any()
    assert hearing.n_samples == 6_400


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes are no whole number of 16-bit samples"):
        microphone(24_000).push(b"123", muted=False)
