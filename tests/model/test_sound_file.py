"""Sound files with every fault that their headers can have: what is read, mended and refused."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import (
    LIMITED,
    NO_LENGTH,
    NO_OFFSET,
    ONE_CHANNEL,
    SCALED,
    SoundError,
    SoundTooLong,
    read_sound,
    sound_header,
    to_mono,
    without_offset,
)

RATE = 16_000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "wide.wav": ("WAVEX", "PCM_24"),
    "rf64.wav": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
}


def noise(seconds: float) -> Audio:
    """Noise without low tones whose loudness rises and falls: no two pieces are alike."""
    n = round(seconds * RATE)
    level = 0.1 + 0.1 * np.sin(np.arange(n) / RATE)
    high = np.diff(np.random.default_rng(0).standard_normal(n + 1))
    return (level * high).astype(np.float32).clip(-1, 1)


def encoded(name: str, audio: Audio) -> bytes:
    form, subtype = FORMATS[name]
    out = io.BytesIO()
    soundfile.write(out, audio, RATE, format=form, subtype=subtype)
    return out.getvalue()


def without_length(flac: bytes) -> bytes:
    """The file as an encoder writes it into a pipe: the number of samples is 0."""
    data = bytearray(flac)
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_a_piece_is_that_part_of_the_whole_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    path.write_bytes(encoded(name, noise(9.0)))
    whole = read_sound(path).samples
    assert np.array_equal(whole, soundfile.read(path, dtype="float32", always_2d=True)[0])
    for start_s, end_s in ((0.0, 1.0), (4.321, 6.2), (8.0, 9.0)):
        piece = read_sound(path, start_s=start_s, end_s=end_s).samples
        part = whole[round(start_s * RATE) : round(end_s * RATE)]
        assert len(piece) == len(part)
        assert np.abs(piece - part).max() < 1e-6  # MP3 sums in another order


@pytest.mark.parametrize("name", FORMATS)
def test_a_torn_file_is_named_with_what_it_holds(name: str) -> None:
    data = encoded(name, noise(9.0))
    reason = "last page is incomplete" if name in ("ogg", "opus") else "header says 9.0"
    with pytest.raises(SoundError, match=f"it is torn: .*{reason}"):
        read_sound(data[: int(0.6 * len(data))])


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus"])
def test_the_sound_before_a_tear_can_still_be_taken_in_pieces(name: str) -> None:
    data = encoded(name, noise(9.0))
    torn = data[: int(0.6 * len(data))]
    whole = read_sound(data, start_s=1.0, end_s=2.0)
    assert np.array_equal(read_sound(torn, start_s=1.0, end_s=2.0).samples, whole.samples)
    with pytest.raises(SoundError, match=r"its piece ends at 8 s, and the file at [45]\.\d+ s"):
        read_sound(torn, start_s=3.0, end_s=8.0)


def test_a_flac_file_without_a_length_is_read_to_its_end() -> None:
    flac = encoded("flac", noise(9.0))
    piece = read_sound(without_length(flac))
    assert np.array_equal(piece.samples, read_sound(flac).samples)
    assert piece.mended == (NO_LENGTH,)
    part = read_sound(without_length(flac), start_s=4.0, end_s=6.0).samples
    assert np.array_equal(part, piece.samples[4 * RATE : 6 * RATE])


def test_a_length_that_was_not_known_is_no_tear() -> None:
    wav = bytearray(encoded("wav", noise(1.0)))
    wav[4:8] = wav[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes it into a pipe
    assert len(read_sound(bytes(wav)).samples) == RATE


@pytest.mark.parametrize(("bits", "ends"), [(16, 2**15), (24, 2**23), (32, 2**31)])
def test_float_samples_in_the_scale_of_whole_numbers_are_scaled(bits: int, ends: int) -> None:
    quiet = (0.05 * noise(1.0)).astype(np.float32)
    piece = read_sound(encoded("float.wav", quiet * np.float32(ends)))
    assert np.allclose(piece.samples[:, 0], quiet, atol=1e-6), bits
    assert piece.mended == (SCALED,)


def test_float_samples_that_overshoot_are_limited_and_others_refused() -> None:
    loud = 2 * noise(1.0) / np.abs(noise(1.0)).max()
    piece = read_sound(encoded("float.wav", loud))
    assert np.allclose(piece.samples[:, 0], loud / 2, atol=1e-6)
    assert piece.mended == (LIMITED,)
    for scale in (10.0, 1e12):
        with pytest.raises(SoundError, match=r"its samples reach .* in no known scale; write PCM"):
            read_sound(encoded("float.wav", scale * loud))


def test_bytes_that_are_no_sound_are_one_reason(tmp_path: Path) -> None:
    raw = (noise(1.0) * 32767).astype("<i2").tobytes()
    for name in ("x.raw", "x.vox", "x.wav", "x.gsm", "x.mp3"):  # the name must not decide
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(SoundError, match="none of the known formats; convert it to WAV"):
            read_sound(tmp_path / name)
    for found, reason in (("", "the file is missing"), ("none.wav", "missing"), ("e", "empty")):
        (tmp_path / "e").touch()
        with pytest.raises(SoundError, match=reason):
            read_sound(tmp_path / found)


def test_any_failure_inside_a_decoder_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("array is too big")

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(SoundError, match=r"cannot be decoded \(array is too big\)"):
        read_sound(encoded("wav", noise(0.1)))


def test_only_the_piece_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    path.write_bytes(encoded("flac", np.tile(noise(1.0), 300)))
    tracemalloc.start()
    piece = read_sound(path, start_s=200.0, end_s=203.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(piece.samples) == 3 * RATE
    assert most < 2e6, "5 minutes are 19 MB"
    for length in (without_length(path.read_bytes()), path.read_bytes()):
        with pytest.raises(SoundTooLong, match=r"it lasts (300\.0|more than 40) s"):
            read_sound(length, longest_s=40.0)


def test_channels_that_cancel_are_one_of_them() -> None:
    voice = noise(1.0)
    mono, mended = to_mono(np.stack([voice, -0.9 * voice], axis=1))
    assert np.array_equal(mono, voice)
    assert mended == (ONE_CHANNEL,)
    other = np.random.default_rng(1).permutation(voice)
    for right in (voice, other, np.zeros_like(voice)):
        both = np.stack([voice, right], axis=1)
        mono, mended = to_mono(both)
        assert np.allclose(mono, both.mean(axis=1), atol=1e-7)
        assert not mended


def test_an_offset_is_removed_where_it_hides_silence() -> None:
    voice = np.concatenate([np.zeros(RATE), noise(1.0), np.zeros(RATE)]).astype(np.float32)
    seconds = np.arange(len(voice)) / RATE
    for offset in (0.01 + 0 * seconds, -0.3 + 0 * seconds, 0.02 * np.sin(2 * np.pi * seconds)):
        clean, mended = without_offset((voice + offset).astype(np.float32), RATE)
        assert mended == (NO_OFFSET,)
        assert np.abs(clean[: RATE // 2]).max() < 1e-3
        assert np.abs(clean - voice).max() < 0.01
    same, mended = without_offset(voice, RATE)
    assert same is voice
    assert not mended


def test_a_header_is_read_without_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.sph"
    path.write_bytes(encoded("sph", noise(1.5)))
    header = sound_header(path)
    assert (header.n_channels, header.rate, header.n_frames) == (1, RATE, round(1.5 * RATE))
    with pytest.raises(SoundError, match="the file is missing"):
        sound_header(tmp_path / "b.sph")


def test_compressed_sphere_is_refused_by_the_name_of_its_coding(tmp_path: Path) -> None:
    path = tmp_path / "a.sph"
    coding = b"sample_coding -s25 pcm,embedded-shorten-v1.09\n"
    path.write_bytes(encoded("sph", noise(1.0)).replace(b"sample_coding -s3 pcm\n", coding))
    with pytest.raises(SoundError, match="compressed as pcm,embedded-shorten-v1.09.*sph2pipe"):
        read_sound(path)
