"""Physics: responses, filters, levels and noise do what their numbers say."""

from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.acoustics import mix, rooms
from microturn.datagen.acoustics.noise import COLOURS, NoiseBeds
from microturn.datagen.config import RoomsConfig
from microturn.datagen.pipeline import Simulator

RATE = 16_000
SMALL = RoomsConfig(n_rooms=2, max_order=5)


def test_a_bank_is_built_once_and_always_the_same(tmp_path: Path) -> None:
    first = rooms.ensure_bank(SMALL, RATE, [tmp_path / "a"])
    again = rooms.ensure_bank(SMALL, RATE, [tmp_path / "a"])
    other = rooms.ensure_bank(SMALL, RATE, [tmp_path / "b"])
    assert first == again
    assert rooms.digest(first) == rooms.digest(other)
    assert rooms.bank_key(SMALL, RATE) != rooms.bank_key(RoomsConfig(n_rooms=3), RATE)


def test_half_a_bank_is_built_again(tmp_path: Path) -> None:
    path = rooms.ensure_bank(SMALL, RATE, [tmp_path])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert rooms.ensure_bank(SMALL, RATE, [tmp_path]).read_bytes() == whole


def test_a_folder_that_takes_nothing_is_passed_over(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert rooms.ensure_bank(SMALL, RATE, [blocked, tmp_path]).parent == tmp_path
    with pytest.raises(OSError, match="can be written to none of"):
        rooms.ensure_bank(SMALL, RATE, [blocked])


def test_responses_start_with_the_direct_sound_and_have_unit_energy(tmp_path: Path) -> None:
    for room in rooms.load_bank(rooms.ensure_bank(SMALL, RATE, [tmp_path])):
        for response in (room.near, *room.far):
            assert np.argmax(np.abs(response)) <= 0.03 * RATE
            assert np.sum(np.square(response)) == pytest.approx(1.0, rel=1e-4)
        assert np.abs(room.near[:8]).max() > 0.3
        assert all(far > room.near_m for far in room.far_m)


@pytest.mark.parametrize("n", [100, 16_384, 40_001])
def test_filtering_is_convolution(n: int) -> None:
    rng = np.random.default_rng(1)
    audio = rng.standard_normal(n).astype(np.float32)
    audio[n // 3 : n // 2] = 0.0
    response = rng.standard_normal(3000).astype(np.float32) / 50
    expected = np.convolve(audio, response)[:n]
    np.testing.assert_allclose(mix.Filter(response)(audio), expected, atol=2e-4)


def test_silence_in_silence_out() -> None:
    assert not mix.Filter(np.ones(9, np.float32))(np.zeros(50_000, np.float32)).any()


def test_a_unit_response_and_full_band_change_nothing() -> None:
    audio = np.random.default_rng(2).standard_normal(20_000).astype(np.float32)
    dry = mix.joined(np.ones(1, np.float32), mix.low_pass(8000, RATE))
    np.testing.assert_allclose(dry(audio), audio, atol=1e-5)


def test_the_low_pass_keeps_time_and_cuts_the_band() -> None:
    narrow = mix.joined(np.ones(1, np.float32), mix.low_pass(3400, RATE))
    click = np.zeros(4000, np.float32)
    click[1000] = 1.0
    out = narrow(click)
    assert np.argmax(np.abs(out)) == 1000
    spectrum = np.abs(np.fft.rfft(out))
    assert spectrum[int(4000 * 5000 / RATE)] < 0.01 < 0.9 < spectrum[int(4000 * 1000 / RATE)]


def test_beds_have_unit_power_and_their_colour(simulator: Simulator) -> None:
    for kind, slope in COLOURS.items():
        bed = simulator.beds.bed(kind)
        assert np.mean(np.square(bed)) == pytest.approx(1.0, rel=1e-3)
        power = np.square(np.abs(np.fft.rfft(bed)))
        low = power[np.fft.rfftfreq(len(bed), 1 / RATE).searchsorted(500) :][:2000].mean()
        high = power[np.fft.rfftfreq(len(bed), 1 / RATE).searchsorted(4000) :][:2000].mean()
        assert np.log2(high / low) / 3 == pytest.approx(2 * slope, abs=0.2)


def test_an_unknown_bed_is_named(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="channel.noise_kinds has 'purple'; known are white"):
        NoiseBeds(simulator.bank, ("white", "purple"))


def test_loud_stems_are_turned_down_together() -> None:
    stems = {"a": np.full(10, 0.9, np.float32), "b": np.full(10, 0.6, np.float32)}
    quiet = mix.limit(stems)
    assert np.abs(mix.mixed(quiet)).max() == pytest.approx(mix.LARGEST_PEAK)
    assert quiet["a"][0] / quiet["b"][0] == pytest.approx(1.5)
