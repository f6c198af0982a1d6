"""Lines: G.711 against the recommendation and libsndfile, clipping, clocks, the telephone."""

import io

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from scipy.signal import resample

from microturn.datagen.acoustics import g711, line

RATE = 16_000
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


def by_libsndfile(law: str) -> npt.NDArray[np.int16]:
    """Every 16-bit sample through the codec of another library."""
    file = io.BytesIO()
    subtype = {"mu": "ULAW", "a": "ALAW"}[law]
    soundfile.write(file, EVERY_SAMPLE, 8000, format="AU", subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="int16")[0]


def by_itu(sample: int, law: str) -> int:
    """The code of one sample after the reference program of ITU-T G.191, written down again."""
    if law == "mu":
        magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
        segment = 1
        while magnitude >> (segment + 5):
            segment += 1
        code = (8 - segment) << 4 | 0xF - ((magnitude >> segment) & 0xF)
        return code | 0x80 if sample >= 0 else code
    short = (~sample if sample < 0 else sample) >> 4
    if short > 15:
        exponent = 1
        while short > 16 + 15:
            short >>= 1
            exponent += 1
        short = short - 16 + (exponent << 4)
    return (short | 0x80 if sample >= 0 else short) ^ 0x55


@pytest.mark.parametrize("law", ["mu", "a"])
def test_g711_codes_are_those_of_the_recommendation(law: str) -> None:
    samples = EVERY_SAMPLE[::7]
    expected = [by_itu(int(sample), law) for sample in samples]
    assert g711.encode(samples, law).tolist() == expected


@pytest.mark.parametrize("law", ["mu", "a"])
def test_g711_sounds_as_in_libsndfile(law: str) -> None:
    """Equal but for the 127 edges between two steps of negative samples, which it rounds up."""
    theirs, ours = by_libsndfile(law), g711.through(EVERY_SAMPLE, law)
    different = np.flatnonzero(theirs != ours)
    assert len(different) <= 127
    assert (EVERY_SAMPLE[different] < 0).all()
    levels = np.unique(g711.decode(np.arange(256, dtype=np.uint8), law))
    assert np.array_equal(np.unique(theirs), np.unique(ours))
    one_step = np.searchsorted(levels, theirs[different]) - np.searchsorted(levels, ours[different])
    assert (np.abs(one_step) == 1).all()


def test_the_mu_law_follows_its_formula() -> None:
    """The smooth curve with mu = 255, of which G.711 is the version in straight pieces."""
    codes = np.arange(255, 127, -1)  # positive samples, from the smallest on
    ours = g711.decode(codes.astype(np.uint8), "mu") / 32768.0
    smooth = (256.0 ** (np.arange(128) / 127.5) - 1) / 255
    np.testing.assert_allclose(ours, smooth, atol=0.001, rtol=0.06)


@pytest.mark.parametrize("law", ["mu", "a"])
def test_codes_survive_a_round_trip(law: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    again = g711.encode(g711.decode(codes, law), law)
    minus_zero = codes == 127  # the mu law has two zeros
    assert np.array_equal(
        again[~minus_zero] if law == "mu" else again, codes[~minus_zero] if law == "mu" else codes
    )


def sine(hertz: float, seconds: float = 2.0) -> npt.NDArray[np.float32]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


@pytest.mark.parametrize("over_db", [3.0, 9.0])
def test_clipping_cuts_so_far_below_the_peak(over_db: float) -> None:
    audio = sine(200.0) * np.float32(0.6)
    cut = line.clipped(audio, over_db)
    limit = 0.6 * 10 ** (-over_db / 20)
    assert np.abs(cut).max() == pytest.approx(limit, rel=1e-3)
    untouched = np.abs(audio) < limit
    assert np.array_equal(cut[untouched], audio[untouched])
    assert untouched.mean() == pytest.approx(2 / np.pi * np.arcsin(limit / 0.6), abs=0.03)


@pytest.mark.parametrize("ppm", [-200.0, -37.0, 80.0, 200.0])
def test_a_drifting_clock_shifts_time_by_its_ratio(ppm: float) -> None:
    """Measured: how far 100 ms of noise have moved at the end of 20 s, between samples."""
    rng = np.random.default_rng(3)
    spectrum = np.fft.rfft(rng.standard_normal(20 * RATE))
    spectrum[5 * len(spectrum) // 8 :] = 0.0
    audio = np.fft.irfft(spectrum).astype(np.float32) * np.float32(0.1)
    moved = line.drifted(audio, ppm)
    assert len(moved) == len(audio)
    centre, half = 19 * RATE, 800
    lag = lag_between(audio, moved, centre, half)
    assert lag / centre * 1e6 == pytest.approx(ppm, abs=2.0)


def lag_between(
    audio: npt.NDArray[np.float32], moved: npt.NDArray[np.float32], centre: int, half: int
) -> float:
    """By how many samples `moved` is ahead around one place: the top of a cross-correlation."""
    reach, fine = 100, 32
    piece = moved[centre - half : centre + half].astype(np.float64)
    wide = audio[centre - half - reach : centre + half + reach].astype(np.float64)
    whole = int(np.argmax(np.correlate(wide, piece, mode="valid")))
    near = wide[whole - 2 : whole + len(piece) + 2]
    dense = resample(near, fine * len(near))
    scores = [float(piece @ dense[k : k + fine * len(piece) : fine]) for k in range(4 * fine)]
    return whole - 2 + int(np.argmax(scores)) / fine - reach


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
def test_a_drifting_clock_adds_no_noise(ppm: float) -> None:
    for hertz in (300.0, 3000.0):
        moved = line.drifted(sine(hertz), ppm)
        expected = np.sin(2 * np.pi * hertz * np.arange(len(moved)) * (1 + ppm * 1e-6) / RATE)
        error = (moved - expected)[100:-100]
        assert 10 * np.log10(np.mean(np.square(error)) / 0.5) < -70


@pytest.mark.parametrize("law", ["mu", "a"])
@pytest.mark.parametrize("n", [3999, 4000])
def test_a_telephone_keeps_time_and_band(law: str, n: int) -> None:
    click = np.zeros(n, np.float32)
    click[1001] = 0.9
    heard = line.telephoned(click, law, band_hz=(300.0, 3400.0), sample_rate=RATE)
    assert len(heard) == n
    assert abs(int(np.argmax(np.abs(heard))) - 1001) <= 1

    def gain_db(hertz: float) -> float:
        heard = line.telephoned(
            sine(hertz) * np.float32(0.5), law, band_hz=(300.0, 3400.0), sample_rate=RATE
        )
        return float(10 * np.log10(np.mean(np.square(heard[4000:-4000])) / 0.125 + 1e-9))

    assert all(abs(gain_db(hertz)) < 1.0 for hertz in (500.0, 1000.0, 3000.0))
    assert all(gain_db(hertz) < -25 for hertz in (100.0, 4500.0, 6000.0))


def test_g711_adds_as_much_noise_as_eight_bits_of_it_do() -> None:
    audio = sine(1000.0) * np.float32(0.3)
    pcm = np.rint(audio * 32768).astype(np.int16)
    for law in ("mu", "a"):
        error = g711.through(pcm, law).astype(float) - pcm
        ratio_db = 10 * np.log10(np.mean(np.square(pcm.astype(float))) / np.mean(np.square(error)))
        assert 33 < ratio_db < 41  # G.712 asks for 33 at this level


def test_a_clean_line_changes_nothing() -> None:
    audio = sine(440.0)
    assert line.Line().is_clean
    assert line.through(line.Line(), audio, sample_rate=RATE) is audio


def test_a_telephone_at_another_rate_is_refused() -> None:
    with pytest.raises(
        ValueError, match="a telephone needs layout.sample_rate=16000, .* not 24000"
    ):
        line.telephoned(sine(440.0), "mu", band_hz=(300.0, 3400.0), sample_rate=24_000)
