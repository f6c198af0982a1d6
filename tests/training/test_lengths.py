"""Dialogues of unequal length: buckets keep the draws, crops are of the dialogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.main import main
from microturn.training.data import DialogueData
from microturn.training.reading.crop import cropped
from microturn.training.reading.order import Bucketed, Shuffled
from microturn.training.sources import open_source

Train = Callable[..., int]


@pytest.fixture(scope="module")
def long(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four dialogues of 50 micro-turns, as `data` else."""
    out = tmp_path_factory.mktemp("long") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=4", "workers=1"]
    assert main([*words, "n_micro_turns=50"]) == 0
    return out


@given(
    n=st.integers(1, 40),
    n_steps=st.integers(1, 5),
    batch_size=st.integers(1, 4),
    first=st.integers(0, 30),
)
def test_buckets_hold_the_same_draws(n: int, n_steps: int, batch_size: int, first: int) -> None:
    plain = Shuffled(n, (0,))
    order = Bucketed(plain, lambda i: i % 7, n_steps=n_steps, batch_size=batch_size, seed=0)
    size = n_steps * batch_size
    whole = order.dialogues(0, 8 * size)
    for bucket in range(8):
        draws = whole[bucket * size : (bucket + 1) * size]
        assert Counter(draws) == Counter(plain.dialogues(bucket * size, size))
        lengths = np.array([i % 7 for i in draws]).reshape(n_steps, batch_size)
        spans = sorted(zip(lengths.min(1), lengths.max(1), strict=True))
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    again = Bucketed(plain, lambda i: i % 7, n_steps=n_steps, batch_size=batch_size, seed=0)
    assert again.dialogues(first, size) == order.dialogues(first, size)


def test_buckets_leave_little_padding(data: Path, long: Path) -> None:
    def padded(bucket_steps: int) -> int:
        source = open_source(f"{data}:2,{long}:1")
        read = DialogueData(
            source, batch_size=4, seed=0, steps=12, n_micro_batches=1, bucket_steps=bucket_steps
        )
        lengths = [[source.length(i) for i in b.dialogues] for b in read.train_dataloader()]
        assert sum(map(sum, lengths)) == 32 * 20 + 16 * 50
        return sum(4 * max(row) - sum(row) for row in lengths)

    assert padded(1) >= 500
    assert padded(12) <= 60


def test_a_crop_is_a_piece_at_a_moment_of_the_seed(long: Path) -> None:
    lanes = open_source(str(long)).lanes(0)
    starts = set()
    for seed in range(30):
        piece = cropped(lanes, 20, seed=(seed,))
        assert piece.n_micro_turns == 20
        [start] = [
            s for s in range(31) if np.array_equal(lanes["audio_in"][s : s + 20], piece["audio_in"])
        ][:1]
        starts.add(start)
        assert np.array_equal(piece["say"], lanes["say"][start : start + 20])
        owed = 3 if start else 0  # micro-turns of 200 ms in 600 ms
        assert not piece.weights["heard"][:owed].any()
        kept = lanes.weights["heard"][start + owed : start + 20]
        assert np.array_equal(piece.weights["heard"][owed:], kept)
        again = cropped(lanes, 20, seed=(seed,))
        assert np.array_equal(again["audio_in"], piece["audio_in"])
    assert len(starts) > 12
    assert cropped(lanes, 50, seed=(0,)) is lanes


def test_cropped_and_sorted_runs_do_not_depend_on_readers(
    data: Path, long: Path, tmp_path: Path, train: Train
) -> None:
    weights = []
    for workers in (0, 2):
        words = ["max_steps=3", "bucket_steps=3", "crop_micro_turns=30", "accumulate=2"]
        run = tmp_path / str(workers)
        mix = f"{data}:1,{long}:1"
        assert train(mix, run, *words, "batch_size=4", f"loader_workers={workers}") == 0
        weights.append((run / "checkpoint/model.safetensors").read_bytes())
    assert weights[0] == weights[1]
