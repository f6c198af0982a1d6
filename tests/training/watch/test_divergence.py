"""A run that blows up ends in a sentence, and its last state is from before."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from microturn.training.state import load, saved_states

Train = Callable[..., int]
FAST = ("optim.lr=10", "optim.muon_lr=50", "optim.warmup_steps=20", "max_steps=60")
SAVING = ("checkpoint_steps=1", "checkpoint_minutes=0", "log_steps=1")


def losses_of(out: Path) -> dict[int, float]:
    with (out / "log" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["loss/loss"]) for row in csv.DictReader(file)}


def test_a_run_that_blows_up_ends_with_its_last_good_state(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, *FAST, *SAVING) == 1
    said = capsys.readouterr().err
    found = re.search(r"step (\d+): the run diverges: the mean loss of 5 steps is ([\d.e+]+)", said)
    assert found is not None, said
    last = saved_states(tmp_path)[-1]
    assert f"the last state is {last}: lower optim.lr" in said
    losses = losses_of(tmp_path)
    good = load(last).step
    assert good < int(found[1])
    assert losses[max(losses)] > 2 * losses[good]
    assert "Traceback" not in said


def test_a_run_may_go_on_regardless(data: Path, tmp_path: Path, train: Train) -> None:
    assert train(data, tmp_path, *FAST, *SAVING, "max_steps=30", "divergence=0") == 0


def test_what_is_no_multiple(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "divergence=0.5") == 2
    assert "divergence=0.5 must be above 1, or 0" in capsys.readouterr().err
