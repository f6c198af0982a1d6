"""Damaged dialogues that a run may leave out: the same ones for everybody, named and counted."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from microturn.training.sources import open_source

Train = Callable[..., int]


def damaged(data: Path, out: Path, *keys: int) -> Path:
    """A copy of a set in which the lanes of some dialogues are damaged."""
    shutil.copytree(data, out)
    for tar in out.glob("*.tar"):
        content = bytearray(tar.read_bytes())
        with tarfile.open(tar) as file:
            for member in file:
                if member.name in [f"{key:08d}.streams.npz" for key in keys]:
                    middle = member.offset_data + member.size // 2
                    content[middle : middle + 64] = bytes(range(64))
        tar.write_bytes(content)
    return out


def test_the_next_good_dialogue_stands_in(data: Path, tmp_path: Path) -> None:
    bad = damaged(data, tmp_path / "set", 2, 3, 7)
    source, whole = open_source(str(bad), skip_damaged=3), open_source(str(data))
    for asked, given in ((2, 4), (3, 4), (7, 0), (5, 5)):
        assert (source.lanes(asked)["say"] == whole.lanes(given)["say"]).all()
        assert (source.lanes(asked)["audio_out"] == whole.lanes(given)["audio_out"]).all()
    with pytest.raises(ValueError, match="00000003"):
        open_source(str(bad), skip_damaged=1).lanes(2)


def test_a_run_names_what_it_leaves_out_and_equals_one_with_other_readers(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = damaged(data, tmp_path / "set", 2, 6)
    weights = []
    for workers in (0, 2):
        run = tmp_path / f"run{workers}"
        words = ["max_steps=4", "batch_size=4", "skip_damaged=2", f"loader_workers={workers}"]
        assert train(bad, run, *words) == 0
        said = capsys.readouterr().err
        assert said.count("skipped dialogue") == 2
        assert "skipped dialogue 2 of at most 2" in said
        rows = [json.loads(line) for line in (run / "damaged.jsonl").read_text().splitlines()]
        assert sorted(row["dialogue"].split()[-1] for row in rows) == ["2", "6"]
        assert all("streams.npz" in row["reason"] for row in rows)
        weights.append((run / "checkpoint/model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert train(bad, tmp_path / "run0", "max_steps=8", "batch_size=4", "skip_damaged=2") == 0
    assert "skipped dialogue" not in capsys.readouterr().err  # known from before


def test_more_damage_than_allowed_ends_the_run(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = damaged(data, tmp_path / "set", 1, 4, 6)
    words = ["max_steps=9", "batch_size=4", "skip_damaged=2", "loader_workers=0"]
    assert train(bad, tmp_path / "run", *words) == 1
    said = capsys.readouterr().err
    assert "3 dialogues are damaged, more than skip_damaged=2 allows" in said
    assert train(bad, tmp_path / "strict", "max_steps=9") == 1
    assert "cannot be read as .npz" in capsys.readouterr().err
