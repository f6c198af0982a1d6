"""Silence and words that were encoded before: the frames that libFLAC makes of whole channels."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.datagen.sets import flac
from microturn.datagen.sets.flac import FrameStore, encode_flac

RATE = 16_000
BLOCK = 4096


def whole(pcm: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, pcm, RATE, format="FLAC", subtype="PCM_16", compression_level=flac.LEVEL
    )
    return buffer.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 12 * BLOCK),
    spans=st.lists(st.tuples(st.integers(0, 12 * BLOCK), st.integers(1, 9000)), max_size=4),
    level=st.sampled_from([1, 300, 32_000]),
)
def test_frames_are_those_of_the_whole_channel(
    n: int, spans: list[tuple[int, int]], level: int
) -> None:
    pcm = np.zeros(n, np.int16)
    noise = np.random.default_rng(0).uniform(-level, level, n).astype(np.int16)
    for start, length in spans:
        pcm[start : start + length] = noise[start : start + length]
    made, expected = encode_flac(pcm, RATE), whole(pcm)
    assert np.array_equal(soundfile.read(io.BytesIO(made), dtype="int16")[0], pcm)
    start = flac._audio_start(expected)
    assert made[start:] == expected[start:]


@pytest.mark.parametrize("blocks", [127, 128, 129, 2047, 2048, 2049])
def test_numbers_of_every_length(blocks: int) -> None:
    """Numbers take one byte up to 127, two up to 2047."""
    pcm = np.zeros(blocks * BLOCK + 100, np.int16)
    pcm[-3 * BLOCK :] = np.arange(3 * BLOCK, dtype=np.int16)
    made, expected = encode_flac(pcm, RATE), whole(pcm)
    start = flac._audio_start(expected)
    assert made[start:] == expected[start:]
    assert soundfile.info(io.BytesIO(made)).frames == len(pcm)


def test_a_part_can_be_read() -> None:
    """Seeking finds frames by their numbers."""
    pcm = np.zeros(200 * BLOCK, np.int16)
    pcm[150 * BLOCK : 160 * BLOCK] = np.arange(10 * BLOCK, dtype=np.int16)
    with soundfile.SoundFile(io.BytesIO(encode_flac(pcm, RATE))) as file:
        file.seek(155 * BLOCK + 17)
        part = file.read(1000, dtype="int16")
    assert np.array_equal(part, pcm[155 * BLOCK + 17 :][:1000])


def test_a_channel_without_silence_keeps_its_checksum() -> None:
    pcm = np.ones(3 * BLOCK, np.int16)
    assert encode_flac(pcm, RATE) == whole(pcm)


@settings(deadline=None, max_examples=25)
@given(
    starts=st.lists(st.integers(0, 8 * BLOCK // 128 - 1), min_size=1, max_size=6),
    rest=st.sampled_from([0, 1, 700]),
    most=st.sampled_from([3, 1000]),
)
def test_frames_from_the_store_are_those_of_the_whole_channel(
    starts: list[int], rest: int, most: int
) -> None:
    """Whatever was encoded before, and however often the store was full."""
    store = FrameStore(max_frames=most)
    word = (np.random.default_rng(1).standard_normal(2 * BLOCK) * 3000).astype(np.int16)
    for start in starts:
        pcm = np.zeros(10 * BLOCK + rest, np.int16)
        pcm[start * 128 : start * 128 + len(word)] = word
        made, expected = encode_flac(pcm, RATE, store=store), whole(pcm)
        at = flac._audio_start(expected)
        assert made[at:] == expected[at:]


def test_bytes_do_not_depend_on_what_a_store_holds() -> None:
    store = FrameStore()
    pcm = (np.random.default_rng(2).standard_normal(5 * BLOCK) * 300).astype(np.int16)
    first = encode_flac(pcm, RATE, store=store)
    assert (
        encode_flac(pcm, RATE, store=store) == first == encode_flac(pcm, RATE, store=FrameStore())
    )
    assert np.array_equal(soundfile.read(io.BytesIO(first), dtype="int16")[0], pcm)
