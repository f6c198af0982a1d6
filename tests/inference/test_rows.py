"""Rows of a batch: same lanes as simulation, rows apart from each other, bad input contained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint
from microturn.model.streams import MelStream, pack_user_audio
from microturn.model.streams.mel import dmel_ids


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    return random_checkpoint(11)


def voice(checkpoint: LoadedCheckpoint, n: int, seed: int) -> np.ndarray:
    """n micro-turns of noise, (n, samples)."""
    rng = np.random.default_rng(seed)
    samples = checkpoint.layout.samples_per_micro_turn
    return (0.1 * rng.standard_normal((n, samples))).astype(np.float32)


def inputs_of(audio: np.ndarray, **more: Any) -> dict[int, MicroTurnIn]:
    """One micro-turn of every row, from audio (B, samples)."""
    return {row: MicroTurnIn(audio=samples, **more) for row, samples in enumerate(audio)}


def run(rows: RowBatch, audio: np.ndarray, row: int = 0) -> list[MicroTurnOut]:
    """One row listens, the others hear silence."""
    outputs = []
    for chunk in audio:
        audio_of_all = np.zeros((rows.n_rows, len(chunk)), np.float32)
        audio_of_all[row] = chunk
        outputs.append(rows.step_rows(inputs_of(audio_of_all))[row])
    return outputs


def assert_same(a: list[MicroTurnOut], b: list[MicroTurnOut]) -> None:
    assert [t.say for t in a] == [t.say for t in b]
    assert [t.heard for t in a] == [t.heard for t in b]
    # Griffin-Lim phases of noise amplify the last bit of a matrix product: compare levels.
    levels = [[float(np.sqrt(np.mean(t.audio**2))) for t in turns] for turns in (a, b)]
    np.testing.assert_allclose(levels[0], levels[1], rtol=0.05, atol=1e-4)


def test_live_packing_of_a_wav_is_the_packing_of_simulation(
    checkpoint: LoadedCheckpoint, tmp_path: Path
) -> None:
    layout = checkpoint.layout
    audio = voice(checkpoint, 9, 0).reshape(-1)
    soundfile.write(tmp_path / "in.wav", audio, layout.sample_rate, subtype="PCM_16")
    stored, _ = soundfile.read(tmp_path / "in.wav", dtype="float32")
    live = MelStream(layout, fine=False)
    chunks = stored.reshape(9, -1)
    ids = np.concatenate([dmel_ids(live.push(chunk)) for chunk in chunks])
    assert np.array_equal(ids, pack_user_audio(stored, layout))


def test_a_session_does_not_see_its_neighbours(checkpoint: LoadedCheckpoint) -> None:
    audio = voice(checkpoint, 20, 1)
    alone = run(RowBatch(checkpoint, 1), audio)
    together = RowBatch(checkpoint, 3)
    others = voice(checkpoint, 20, 2)
    outputs = []
    for k in range(20):
        batch = np.stack([others[k], audio[k], others[-k]])
        outputs.append(together.step_rows(inputs_of(batch))[1])
    assert_same(alone, outputs)


def test_a_row_that_sits_out_goes_on_as_if_nothing_happened(checkpoint: LoadedCheckpoint) -> None:
    """Beyond the window too: what an idle row wrote into its ring must never be read."""
    n = 3 * checkpoint.model.cfg.window
    audio, noise = voice(checkpoint, n, 3), voice(checkpoint, n, 4)
    straight = run(RowBatch(checkpoint, 2), audio)
    rows, outputs = RowBatch(checkpoint, 2), []
    for k in range(n):
        if k % 3 == 0:
            assert list(rows.step_rows({1: MicroTurnIn(audio=noise[k])})) == [1]
        batch = np.stack([audio[k], noise[k]])
        outputs.append(rows.step_rows(inputs_of(batch))[0])
    assert_same(straight, outputs)


def test_a_reset_row_is_a_new_conversation(checkpoint: LoadedCheckpoint) -> None:
    audio = voice(checkpoint, 12, 5)
    rows = RowBatch(checkpoint, 2)
    first = run(rows, audio)
    rows.reset(0)
    assert_same(first, run(rows, audio))


def test_samples_that_are_not_finite_are_silence(checkpoint: LoadedCheckpoint) -> None:
    audio = voice(checkpoint, 4, 6)
    audio[1] = np.nan
    audio[2, ::2], audio[2, 1::2] = np.inf, -np.inf
    silent = audio.copy()
    silent[1:3] = 0.0
    assert_same(run(RowBatch(checkpoint, 1), audio), run(RowBatch(checkpoint, 1), silent))


def test_a_micro_turn_without_input_is_marked_and_not_heard(checkpoint: LoadedCheckpoint) -> None:
    one, two = voice(checkpoint, 2, 7), voice(checkpoint, 2, 8)
    outputs = []
    for audio in (one, two):
        rows = RowBatch(checkpoint, 1)
        outputs.append([rows.step_rows(inputs_of(audio[:1], missing_input=True))[0]])
    assert_same(*outputs)


def test_wrong_shapes_are_refused_in_one_sentence(checkpoint: LoadedCheckpoint) -> None:
    rows = RowBatch(checkpoint, 1)
    with pytest.raises(ValueError, match=r"row 0 has shape \(7,\), a micro-turn needs \(3200,\)"):
        rows.step_rows(inputs_of(np.zeros((1, 7), np.float32)))
    with pytest.raises(ValueError, match="3 text tokens, a micro-turn holds 1"):
        rows.step_rows(inputs_of(voice(checkpoint, 1, 0), text_in=[4, 20, 5]))


def test_typed_text_changes_the_output(checkpoint: LoadedCheckpoint) -> None:
    audio = voice(checkpoint, 6, 9)
    quiet, typed = RowBatch(checkpoint, 1), RowBatch(checkpoint, 1)
    word = checkpoint.tokenizer.encode("hello")
    a = [quiet.step_rows(inputs_of(chunk[None]))[0].audio for chunk in audio]
    b = [typed.step_rows(inputs_of(chunk[None], text_in=word))[0].audio for chunk in audio]
    assert not np.allclose(np.stack(a), np.stack(b))
