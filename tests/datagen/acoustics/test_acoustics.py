"""Physics: responses, filters, levels and noise do what their numbers say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microturn.datagen.acoustics import mix, rooms
from microturn.datagen.acoustics.config import RoomsConfig
from microturn.datagen.acoustics.noise import COLOURS, NoiseBeds
from microturn.datagen.acoustics.responses import (
    MAX_RT60_ERROR,
    ROOM_TRIES,
    SPEED_OF_SOUND,
    Room,
    RoomPosition,
    _next_walls,
    decay_time,
    simulate_room,
)
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator

RATE = 16_000
SMALL = RoomsConfig(n_rooms=2, n_far=2, rt60_s=(0.2, 0.25))
TAIL = RoomsConfig(n_rooms=2, method="tail")


def test_a_bank_is_built_once_and_always_the_same(tmp_path: Path) -> None:
    first = rooms.ensure_bank(SMALL, RATE, folders=[tmp_path / "a"])
    again = rooms.ensure_bank(SMALL, RATE, folders=[tmp_path / "a"])
    other = rooms.ensure_bank(SMALL, RATE, folders=[tmp_path / "b"])
    assert first == again
    assert rooms.digest(first) == rooms.digest(other)
    assert rooms.bank_key(SMALL, RATE) != rooms.bank_key(RoomsConfig(n_rooms=3), RATE)


def test_half_a_bank_is_built_again(tmp_path: Path) -> None:
    path = rooms.ensure_bank(SMALL, RATE, folders=[tmp_path])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert rooms.ensure_bank(SMALL, RATE, folders=[tmp_path]).read_bytes() == whole


def test_a_folder_that_takes_nothing_is_passed_over(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert rooms.ensure_bank(SMALL, RATE, folders=[blocked, tmp_path]).parent == tmp_path
    with pytest.raises(OSError, match="can be written to none of"):
        rooms.ensure_bank(SMALL, RATE, folders=[blocked])


def test_how_many_processes_build_a_bank_changes_nothing() -> None:
    config = RoomsConfig(n_rooms=3, n_far=2, rt60_s=(0.2, 0.25))
    alone = rooms.build_bank(config, RATE)
    shared = rooms.build_bank(config, RATE, workers=2, serial_s=0.0)
    assert rooms._serialise(alone) == rooms._serialise(shared)


def places_of(room: Room) -> tuple[RoomPosition, ...]:
    return (room.near, *room.far, *room.beside, room.loudspeaker)


@pytest.mark.parametrize("config", [SMALL, TAIL], ids=["images", "tail"])
def test_responses_start_with_the_direct_sound_and_have_unit_energy(config: RoomsConfig) -> None:
    for room in rooms.build_bank(config, RATE):
        assert len(room.far) == config.n_far
        for place in places_of(room):
            assert np.argmax(np.abs(place.response)) <= 0.03 * RATE
            assert np.sum(np.square(place.response)) == pytest.approx(1.0, rel=1e-4)
        assert np.abs(room.near.response[:8]).max() > 0.3
        assert all(far.distance_m > room.near.distance_m for far in room.far)


@pytest.mark.parametrize("config", [SMALL, TAIL], ids=["images", "tail"])
def test_the_direct_sound_arrives_after_distance_over_speed_of_sound(config: RoomsConfig) -> None:
    for index in range(3):
        for place in places_of(simulate_room(config, RATE, index)):
            samples = place.distance_m / SPEED_OF_SOUND * RATE
            assert place.delay_samples == pytest.approx(samples, abs=0.5)


def test_a_direct_sound_alone_peaks_where_geometry_says() -> None:
    """The delay is measured on the response: image sources of order 0 are one source."""
    free = RoomsConfig(n_rooms=1, method="tail", tail_order=0, rt60_s=(0.05, 0.06))
    room = simulate_room(free, RATE, 0)
    for place in places_of(room):
        alone = np.abs(place.response[:4])
        assert alone.max() == np.abs(place.response).max()


def test_no_two_places_of_a_bank_have_one_response() -> None:
    bank = rooms.build_bank(SMALL, RATE)
    seen = {place.response.tobytes() for room in bank for place in places_of(room)}
    assert len(seen) == sum(len(places_of(room)) for room in bank)


@pytest.mark.parametrize("rt60", [0.16, 0.2, 0.4])
@pytest.mark.parametrize("method", ["images", "tail"])
def test_rooms_decay_as_asked(method: str, rt60: float) -> None:
    """The responses as they are used; walls make up for the errors of Sabine's formula."""
    config = RoomsConfig(n_rooms=1, n_far=2, method=method, rt60_s=(rt60, rt60), max_order=0)
    for index in (1, 10):
        room = rooms.room_as_asked(config, RATE, index)
        measured = np.median([decay_time(p.response.astype(float), RATE) for p in places_of(room)])
        assert room.measured_rt60_s == pytest.approx(measured, abs=1e-3)
        assert room.measured_rt60_s == pytest.approx(rt60, rel=0.2 if method == "images" else 0.1)


def test_every_room_of_the_default_range_can_be_had() -> None:
    """Proportion alone swung between walls too dry and too live, and refused every simulation."""
    for seed in (2, 7, 8):
        rooms.build_bank(RoomsConfig(seed=seed), RATE)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.2, 3.0])
def test_walls_are_found_of_any_steepness(power: float) -> None:
    """A room whose decay goes with a power of that of its walls, 30 % too dry at the first try."""
    target = 0.2
    tries: list[tuple[float, float]] = []
    for _ in range(ROOM_TRIES):
        walls = _next_walls(target, tries)
        tries.append((walls, 0.7 * target * (walls / target) ** power))
    assert min(abs(measured / target - 1) for _, measured in tries) <= MAX_RT60_ERROR


def test_long_reverberation_is_had_from_a_tail_and_refused_of_few_reflections() -> None:
    asked = {"n_rooms": 3, "n_far": 2, "rt60_s": (0.8, 1.2)}
    bank = rooms.build_bank(RoomsConfig(**asked, method="tail", max_response_s=0.5), RATE)
    assert all(0.64 <= room.measured_rt60_s <= 1.44 for room in bank)
    sentence = (
        r"rooms.rt60_s=\[0.8, 1.2\] cannot be had with rooms.method=images, max_order=24 and "
        r"max_response_s=0.35: a room of 1.03\d* s decays in 0.\d+ s; set rooms.method=tail"
    )
    with pytest.raises(ValueError, match=sentence):
        rooms.build_bank(RoomsConfig(**asked), RATE)


def test_a_stochastic_tail_sounds_as_near_as_image_sources() -> None:
    """Share of the energy in the first 2.5 ms (the direct sound) and 50 ms, both methods."""
    for index in range(2):
        full = simulate_room(RoomsConfig(n_far=2, max_order=0), RATE, index)
        fast = simulate_room(RoomsConfig(n_far=2, method="tail"), RATE, index)
        for one, other in zip(places_of(full), places_of(fast), strict=True):
            for early in (0.0025, 0.05):
                assert clarity(one, early) == pytest.approx(clarity(other, early), abs=3.0)


def clarity(place: RoomPosition, early_s: float) -> float:
    """Early over late energy in dB."""
    energy, edge = np.square(place.response), round(early_s * RATE)
    return float(10 * np.log10(energy[:edge].sum() / energy[edge:].sum()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"method": "rays"}, "rooms.method='rays' is not one of images, tail"),
        ({"n_rooms": 0}, "rooms.n_rooms=0 must be at least 1"),
        ({"n_far": 1}, "rooms.n_far=1 must be at least 2"),
        ({"rt60_s": (0.5, 0.2)}, r"rooms.rt60_s=\[0.5, 0.2\] must be two positive numbers"),
        ({"near_m": (0.0, 0.2)}, r"rooms.near_m=\[0, 0.2\] must be two positive numbers"),
        ({"far_m": (8, 10)}, r"rooms.far_m=\[8, 10\] does not fit into the rooms"),
        ({"max_response_s": 0.9}, "rooms.max_response_s=0.9 must be above 0 and at most 0.5 s"),
    ],
)
def test_impossible_rooms_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RoomsConfig(**change)


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


def test_no_music_is_in_beds_of_training_and_test(simulator: Simulator) -> None:
    banks = {
        s: UnitBank(simulator.bank.corpus, DatagenConfig(out="unused", split=s))
        for s in ("train", "test")
    }
    pieces = {split: set(bank.music().texts("id")) for split, bank in banks.items()}
    every = set(simulator.bank.corpus.filter(tag="music").texts("id"))
    assert pieces["train"] | pieces["test"] == every
    assert not pieces["train"] & pieces["test"]
    assert pieces["test"] == {"music/macroform-the_simplicity"}
    for split, bank in banks.items():
        bed = NoiseBeds(bank, ("music",)).bed("music")
        for name in every:
            piece = bank.corpus.load(bank.corpus[name])[RATE : 2 * RATE]
            spectra = [np.fft.rfft(part, len(bed) + RATE) for part in (bed, piece)]
            match = np.fft.irfft(spectra[0] * spectra[1].conj())
            alike = match.max() / np.linalg.norm(piece) ** 2
            level = np.sqrt(np.mean(np.square(bed)) / np.mean(np.square(piece)))
            assert (alike > 0.5 * level) == (name in pieces[split]), name


def test_an_unknown_bed_is_named(simulator: Simulator) -> None:
    with pytest.raises(
        ValueError, match="channel.noise_kinds has 'purple'; known values are white"
    ):
        NoiseBeds(simulator.bank, ("white", "purple"))


def test_a_bed_that_cannot_be_generated_is_named(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="noise 'purple' cannot be generated; known kinds are"):
        simulator.beds.bed("purple")


def test_loud_stems_are_turned_down_together() -> None:
    voice, more = np.full(10, 0.9, np.float32), np.full(10, 0.6, np.float32)
    microphone = mix.Mixture(voice, silence=np.zeros(10, np.float32), keep=True)
    microphone.add("more", more)
    microphone.limit()
    assert np.abs(microphone.total).max() == pytest.approx(mix.MAX_PEAK)
    np.testing.assert_allclose(sum(microphone.stems.values()), microphone.total, rtol=1e-6)
    assert voice[0] / more[0] == pytest.approx(1.5)
