"""A stem that is taught alone: it reads, other weights stay, the checkpoint starts a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from microturn.configs.main import FAILED, main
from microturn.model.checkpoint import load_checkpoint, random_checkpoint, save_checkpoint

SMALL = ("worlds=16", "step_worlds=8", "test_worlds=4", "threads=1")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without a video lane."""
    folder = tmp_path_factory.mktemp("blind")
    loaded = random_checkpoint()
    save_checkpoint(folder, loaded.model, loaded.tokenizer)
    return folder


def see(init: Path, out: Path, *words: str) -> int:
    return main(["see", f"init={init}", f"out={out}", *SMALL, *words])


def test_only_the_stem_is_new_and_the_bytes_repeat(blind: Path, tmp_path: Path) -> None:
    assert see(blind, tmp_path / "a") == 0
    assert see(blind, tmp_path / "b") == 0
    before, after = load_checkpoint(blind), load_checkpoint(tmp_path / "a")
    assert after.layout.lane("video").grid == (1, 1)
    old, new = before.model.state_dict(), after.model.state_dict()
    added = {name for name in new if name not in old}
    assert added == {name for name in new if name.startswith("embed.video.")}
    assert added
    assert all(torch.equal(new[name], old[name]) for name in old)
    files = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("a", "b")]
    assert files[0] == files[1]


def test_a_stem_goes_on_from_the_one_there_is(blind: Path, tmp_path: Path) -> None:
    assert see(blind, tmp_path / "a") == 0
    assert see(tmp_path / "a", tmp_path / "same", "lr=0") == 0
    weights = [load_file(tmp_path / run / "model.safetensors") for run in ("a", "same")]
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())


def test_what_cannot_be_seen_is_refused(
    blind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert see(blind, blind) == FAILED
    assert "holds a checkpoint; give another out=" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert see(blind, tmp_path / "file", "worlds=1_000_000") == FAILED, "before it is taught"
    assert "file cannot be a folder, because" in capsys.readouterr().err
    assert main(["see", f"out={tmp_path}/x", "signs=[é]"]) != 0
    assert "which cannot be drawn" in capsys.readouterr().err
    assert main(["see", f"out={tmp_path}/x", "signs=[]"]) != 0
    assert "leaves nothing to read" in capsys.readouterr().err


@pytest.mark.slow
def test_signs_are_read_in_worlds_that_were_not_seen(blind: Path, tmp_path: Path) -> None:
    """A constant answer is right of 1 in 19 signs."""
    read = tmp_path / "read.json"
    words = ("worlds=3200", "step_worlds=16", "test_worlds=200", f"json={read}")
    assert see(blind, tmp_path / "out", *words) == 0
    found = json.loads(read.read_text(encoding="utf-8"))
    assert found["sign"] > 0.6
    assert found["no_sign"] > 0.9
