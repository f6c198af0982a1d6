from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from microturn.inference.audio import (
    Reassembler,
    decode_pcm16,
    encode_pcm16,
    read_recording,
    resample,
    write_wav,
)
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

RATE = StreamLayout().sample_rate
HALF_STEP = 0.5 / 32768


@given(st.lists(st.floats(-2.0, 2.0, width=32), max_size=50))
def test_pcm16_round_trip_clips_and_rounds(values: list[float]) -> None:
    samples = np.array(values, np.float32)
    back = decode_pcm16(encode_pcm16(samples))
    inside = samples.clip(-1.0, 32767 / 32768)
    assert np.abs(back - inside).max(initial=0.0) <= HALF_STEP + 1e-7
    assert encode_pcm16(back) == encode_pcm16(samples)


@given(st.integers(0, 400), st.lists(st.integers(0, 60), max_size=40))
def test_pieces_of_any_length_become_the_same_micro_turns(n: int, cuts: list[int]) -> None:
    samples = np.arange(n, dtype=np.float32) / 32768
    data, spm = encode_pcm16(samples), 48
    pieces = Reassembler(spm)
    found, position = [], 0
    for cut in [*cuts, n]:
        found += pieces.add_pcm16(data[2 * position : 2 * (position + cut)])
        position += cut
    whole = n // spm
    assert len(found) == whole
    assert all((piece == samples[i * spm : (i + 1) * spm]).all() for i, piece in enumerate(found))


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes are no whole number of 16-bit samples"):
        Reassembler(100).add_pcm16(b"abc")


def test_right_format_is_read_as_it_is(recording_file: Path, recording: Audio) -> None:
    read = read_recording(recording_file, sample_rate=RATE)
    assert read.notes == ()
    assert np.abs(read.samples - recording).max() <= HALF_STEP + 1e-7


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("a.flac", 44_100, 2), ("a.ogg", 48_000, 1), ("a.mp3", 22_050, 1), ("a.wav", 8_000, 3)],
)
def test_other_rates_and_channels_are_converted_and_reported(
    tmp_path: Path, recording: Audio, name: str, rate: int, channels: int
) -> None:
    path = tmp_path / name
    other = resample(recording, rate=RATE, new_rate=rate)
    soundfile.write(path, np.tile(other[:, None], (1, channels)), rate)
    read = read_recording(path, sample_rate=RATE)
    assert any(f"resampled from {rate} Hz to {RATE} Hz" in note for note in read.notes)
    mixed = any(f"{channels} channels mixed down to one" in note for note in read.notes)
    assert mixed == (channels > 1)
    assert abs(len(read.samples) - len(recording)) <= 0.1 * RATE  # lossy formats pad
    both = min(len(read.samples), len(recording))
    alike = np.corrcoef(read.samples[:both], recording[:both])[0, 1]
    assert name == "a.mp3" or alike > 0.95  # an mp3 decoder may add a delay


def test_samples_that_are_no_numbers_become_silence(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.5, np.nan, np.inf, -0.5]), RATE, subtype="FLOAT")
    read = read_recording(path, sample_rate=RATE)
    assert read.samples.tolist() == [0.5, 0.0, 0.0, -0.5]
    assert "not numbers" in read.notes[0]


def test_written_wav_is_pcm16_at_the_rate(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.array([0.0, 2.0, -2.0], np.float32), sample_rate=RATE)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
    read = read_recording(tmp_path / "a.wav", sample_rate=RATE)
    assert read.samples.tolist() == [0.0, 32767 / 32768, -1.0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is an empty file"),
        (b"this is no sound", "is not a recording that can be read"),
        (b"RIFF\x24\x00\x00\x00WAVEjunk", "is not a recording that can be read"),
        (None, "no such file"),
    ],
)
def test_an_unreadable_recording_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        read_recording(path, sample_rate=RATE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_and_silence_of_no_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_recording(tmp_path, sample_rate=RATE)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    with pytest.raises(ValueError, match="holds no samples"):
        read_recording(tmp_path / "none.wav", sample_rate=RATE)
