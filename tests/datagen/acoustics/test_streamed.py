"""Sound that comes block by block is filtered as a whole recording is."""

import numpy as np
import pytest

from microturn.datagen.acoustics.echo import EchoPath, Loudspeaker
from microturn.datagen.acoustics.mix import Filter, delayed
from microturn.datagen.acoustics.streamed import StreamedEcho, StreamedFilter

RATE, BLOCK = 16_000, 3_200


@pytest.mark.parametrize("n_taps", [1, 400, 3_200, 8_000])
def test_a_streamed_filter_is_the_filter(n_taps: int) -> None:
    rng = np.random.default_rng(n_taps)
    response = (rng.standard_normal(n_taps) / np.sqrt(n_taps)).astype(np.float32)
    audio = rng.standard_normal(6 * BLOCK).astype(np.float32)
    audio[2 * BLOCK : 4 * BLOCK] = 0.0  # it rings on through silence
    streamed = StreamedFilter(response, block=BLOCK)
    blocks = [streamed(block) for block in audio.reshape(-1, BLOCK)]
    np.testing.assert_allclose(np.concatenate(blocks), Filter(response)(audio), atol=2e-5)


@pytest.mark.parametrize("erle_db", [None, 25.0])
@pytest.mark.parametrize("lag", [0, 320, 5_000])
def test_a_streamed_echo_is_the_echo(erle_db: float | None, lag: int) -> None:
    rng = np.random.default_rng(lag)
    response = (rng.standard_normal(5_000) * np.exp(-np.arange(5_000) / 900)).astype(np.float32)
    response /= np.sqrt(np.sum(response**2))
    audio = (0.2 * rng.standard_normal(8 * BLOCK)).astype(np.float32)
    audio[BLOCK : 3 * BLOCK] = 0.0  # the canceller does not adapt meanwhile
    path = EchoPath(drive=0.5, erle_db=erle_db, converge_s=0.5, taps_ms=64.0)
    whole = Loudspeaker(response, taps=1_024).echo(audio, path, sample_rate=RATE)
    streamed = StreamedEcho(response, path, gain_db=-20.0, lag=lag, sample_rate=RATE, block=BLOCK)
    blocks = [streamed(block) for block in audio.reshape(-1, BLOCK)]
    np.testing.assert_allclose(
        np.concatenate(blocks), delayed(whole, lag, gain_db=-20.0), atol=1e-6
    )


def test_without_a_room_the_echo_is_a_copy() -> None:
    audio = np.random.default_rng(0).standard_normal(4 * BLOCK).astype(np.float32)
    streamed = StreamedEcho(
        np.ones(1, np.float32), None, gain_db=-30.0, lag=700, sample_rate=RATE, block=BLOCK
    )
    blocks = [streamed(block) for block in audio.reshape(-1, BLOCK)]
    assert np.array_equal(np.concatenate(blocks), delayed(audio, 700, gain_db=-30.0))
