"""A run that resumes with other settings says each of them, and its rates never jump."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from microturn.configs.main import FAILED, main
from microturn.training.start.bridge import Bridge
from microturn.training.state import load, saved_states

Train = Callable[..., int]
WORDS = ("max_steps=6", "log_steps=1", "checkpoint_minutes=0", "checkpoint_steps=1")
WARM_UP = "optim.warmup_steps=4"


@pytest.fixture(scope="module")
def run(data: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that is finished."""
    out = tmp_path_factory.mktemp("changes") / "run"
    assert train(data, out, *WORDS, WARM_UP) == 0
    return out


@pytest.fixture(scope="module")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("other") / "set"
    words = ["n_dialogues=8", "n_micro_turns=20", "workers=1", "seed=7", "dialogues_per_shard=4"]
    assert main(["simulate", "datagen/smoke.yaml", f"out={out}", *words]) == 0
    return out


def rates_of(out: Path) -> list[float]:
    with (out / "log" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["rate"]) for row in csv.DictReader(file)]


def went_on(run: Path, out: Path, *, step: int = 6) -> Path:
    """A copy of the run as it was when it had saved a step."""
    shutil.copytree(run, out)
    for path in saved_states(out):
        if int(path.stem[4:]) > step:
            path.unlink()
    return out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optim.lr=0.001", "optim.lr=0.003 there, 0.001 here"),
        ("optim.muon_lr=0.01", "optim.muon_lr=0.02 there, 0.01 here"),
        ("optim.weight_decay=0.2", "optim.weight_decay=0.01 there, 0.2 here"),
        ("optim.decay=0.2", "optim.decay=0.6 there, 0.2 here"),
        ("optim.clip=0.5", "optim.clip=1.0 there, 0.5 here"),
        ("precision=bf16", "precision=32-true there, bf16-mixed here"),
        ("max_steps=8", "max_steps=6 there, 8 here"),
        ("batch_size=4", "batch_size=2 there, 4 here"),
        ("seed=3", "seed=0 there, 3 here"),
        ("freeze=backbone", "freeze=[] there, ['backbone'] here"),
        ("model.moe.z_loss=0.01", "model.moe.z_loss=0.001 there, 0.01 here"),
        ("model.flow.draws=2", "model.flow.draws=1 there, 2 here"),
    ],
)
@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # of bf16 on a CPU
def test_each_setting_that_differs_is_said(
    change: str,
    said: str,
    run: Path,
    data: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Loss settings too, which a trained model may change."""
    out = went_on(run, tmp_path / "run", step=5)
    capsys.readouterr()
    assert train(data, out, *WORDS, WARM_UP, change) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "there," in line]
    assert len(lines) == 1
    assert said in lines[0]


def test_other_data_and_another_mix_are_said(
    run: Path,
    data: Path,
    other_data: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, other in enumerate((other_data, f"{data}:0.7,{other_data}:0.3")):
        out = went_on(run, tmp_path / str(number), step=5)
        capsys.readouterr()
        assert train(other, out, *WORDS, WARM_UP) == 0
        assert "data is not what it was" in capsys.readouterr().err


def test_what_changes_no_step_is_not_said(
    run: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set that was moved, readers, micro-batches, times of saving."""
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    out = went_on(run, tmp_path / "run", step=5)
    words = (*WORDS, WARM_UP, "accumulate=2", "loader_workers=1", "checkpoint_steps=3")
    capsys.readouterr()
    assert train(moved, out, *words) == 0
    said = capsys.readouterr().err
    assert "there," not in said
    assert "data is not" not in said
    assert rates_of(out) == rates_of(run)


def test_a_finished_run_that_goes_on_warms_up_again(
    run: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    """Twice the steps: the rate was near 0 and would be 0.83 at once."""
    out = went_on(run, tmp_path / "run")
    assert train(data, out, *WORDS, WARM_UP, "max_steps=12") == 0
    before, rates = rates_of(run), rates_of(out)
    assert rates[:6] == before
    last = before[-1]
    schedule = [min(1.0, (1 - step / 12) / 0.6) for step in range(6, 12)]
    shares = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates[6:] == pytest.approx(
        [s * new + (1 - s) * last for s, new in zip(shares, schedule, strict=True)], abs=2e-5
    )


def test_without_warm_up_rates_do_not_jump_either(
    run: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither where the new schedule has none, nor where both have none."""
    out, without = went_on(run, tmp_path / "run"), "optim.warmup_steps=0"
    assert train(data, out, *WORDS, without, "max_steps=12") == 0
    assert "move to it over 30 steps (optim.warmup_steps)" in capsys.readouterr().err
    last, rates = rates_of(run)[-1], rates_of(out)
    schedule = [min(1.0, (1 - step / 12) / 0.6) for step in range(6, 12)]
    expected = [k / 30 * new + (1 - k / 30) * last for k, new in enumerate(schedule, start=1)]
    assert rates[6:] == pytest.approx(expected, abs=2e-5)
    assert train(data, out, *WORDS, without, "max_steps=16") == 0
    longer = rates_of(out)
    assert max(abs(b - a) for a, b in zip(longer[11:], longer[12:], strict=False)) < 0.04


def test_a_run_that_stops_on_the_bridge_goes_on_along_it(
    run: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    straight, words = went_on(run, tmp_path / "straight"), (*WORDS, WARM_UP, "max_steps=12")
    words = (*words, "checkpoints_kept=9")
    assert train(data, straight, *words) == 0
    stopped = went_on(straight, tmp_path / "stopped", step=8)
    assert load(saved_states(stopped)[-1]).facts.bridge is not None
    assert train(data, stopped, *words) == 0
    assert rates_of(stopped) == rates_of(straight)
    one, other = (load_file(saved_states(out)[-1]) for out in (straight, stopped))
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def test_a_peak_rate_that_changes_is_reached_in_steps() -> None:
    bridge = Bridge(first_step=10, rates={"tables": 1.0})
    rates = [bridge.rate("tables", 3.0, step=step, warmup_steps=4) for step in (10, 11, 12, 13, 99)]
    assert rates == [1.5, 2.0, 2.5, 3.0, 3.0]
    assert bridge.rate("new", 3.0, step=10, warmup_steps=4) == 3.0


def test_another_model_is_told_how_to_take_the_weights(
    run: Path, data: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, run, *WORDS, "model.vocoder.kind=istft") == FAILED
    said = capsys.readouterr().err
    assert "model.vocoder.kind=griffin_lim there, istft here" in said
    assert f"init={saved_states(run)[-1]} to start from its weights" in said
