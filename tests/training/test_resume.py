"""A run that was stopped, in whatever way, ends with the bits of one that was not."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from microturn.configs.load import load_config
from microturn.configs.main import FAILED, main
from microturn.model.checkpoint import load_checkpoint
from microturn.training.config import TrainingConfig
from microturn.training.state import load, saved_states
from microturn.training.train import train as train_with

Train = Callable[..., int]
STEPS = 16


def words_of(data: Path, out: Path, *more: str) -> list[str]:
    """A run of STEPS steps, saved after each of them and by no clock."""
    fixed = [f"max_steps={STEPS}", "checkpoint_steps=1", "checkpoint_minutes=0", "log_steps=2"]
    where = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu"]
    return ["training/smoke.yaml", *where, *fixed, *more]


def log_without_time(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert "seconds" in rows[0]
    return [
        {name: value for name, value in row.items() if not name.startswith(("seconds", "time/"))}
        for row in rows
    ]


def assert_same_run(one: Path, other: Path) -> None:
    """Last states and checkpoints have the same bits, and the logs the same numbers."""
    a, b = (load_file(saved_states(out)[-1]) for out in (one, other))
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]
    weights = [out / "checkpoint" / "model.safetensors" for out in (one, other)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    logs = [log_without_time(out / "log" / "metrics.csv") for out in (one, other)]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all steps that nothing stopped."""
    out = tmp_path_factory.mktemp("straight") / "run"
    assert main(["train", *words_of(data, out)]) == 0
    return out


class CtrlC(Callback):
    """Presses Ctrl-C while a step is computed."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.step, self.times = step, times

    def on_before_zero_grad(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_stopped_and_resumed_is_never_stopped(data: Path, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for workers, until in ((0, 5), (2, 9)):
        cfg = load_config(TrainingConfig, *split(words_of(data, out, f"loader_workers={workers}")))
        with pytest.raises(KeyboardInterrupt):
            train_with(cfg, watch=CtrlC(until - 1))
    assert load(saved_states(out)[-1]).step == 9
    assert main(["train", *words_of(data, out)]) == 0
    assert_same_run(straight, out)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    return words[:1], words[1:]


def test_ctrl_c_twice_stops_at_once_and_keeps_the_state_before(data: Path, tmp_path: Path) -> None:
    cfg = load_config(TrainingConfig, *split(words_of(data, tmp_path)))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_with(cfg, watch=CtrlC(3, times=2))
    signal.signal(signal.SIGINT, before)
    assert load(saved_states(tmp_path)[-1]).step == 3


def test_states_are_pruned_and_half_written_ones_removed(
    data: Path, tmp_path: Path, train: Train
) -> None:
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / ".step00000001.safetensors.tmp").write_bytes(b"half")
    assert train(data, tmp_path, "max_steps=5", "checkpoint_steps=2", "checkpoints_kept=2") == 0
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == [
        "step00000004.safetensors",
        "step00000005.safetensors",
    ]


def test_a_finished_run_writes_its_checkpoint_again(
    data: Path, straight: Path, tmp_path: Path
) -> None:
    """As after a kill between the last state and the checkpoint."""
    weights = straight / "checkpoint" / "model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    assert main(["train", *words_of(data, straight)]) == 0
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.d_model=64", "model.d_model=48 there, 64 here"),
        ("model.moe.n_experts=2", "model.moe.n_experts=4 there, 2 here"),
    ],
)
def test_a_state_of_another_size_is_refused(
    change: str, message: str, data: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in straight.rglob("*") if p.is_file()}
    assert main(["train", *words_of(data, straight, change, "max_steps=99")]) == FAILED
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert before == {p: p.read_bytes() for p in straight.rglob("*") if p.is_file()}


@pytest.mark.parametrize("content", [b"garbage", b"", b"\x08" + bytes(7) + b"{}      "])
def test_a_damaged_state_is_named(
    content: bytes, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "states" / "step00000003.safetensors"
    path.parent.mkdir()
    path.write_bytes(content)
    assert train(data, tmp_path) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert f"{path}: cannot be read" in said[0]
    assert train(data, tmp_path, "resume=false", "max_steps=1") == 0


def test_another_seed_is_said_and_allowed(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "max_steps=1") == 0
    assert train(data, tmp_path, "max_steps=2", "seed=3") == 0
    said = capsys.readouterr().err
    assert "seed=0 there, 3 here" in said
    assert "max_steps=1 there, 2 here" in said  # the rate, at its end, begins to fall again


# --- from outside: signals, kills, a full disk ---------------------------------------------------
def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def written(out: Path) -> tuple[object, ...]:
    """What changes when a run saves a state, or its checkpoint when no step was left."""
    weights = out / "checkpoint" / "model.safetensors"
    half = list((out / "states").glob(".*"))
    return saved_states(out), half, weights.exists() and weights.stat().st_mtime_ns


def kill_at_random(server: Any, data: Path, out: Path, kills: int, seed: int) -> None:
    """Start the run again and again; kill it at moments around, and inside, the saving."""
    chance = random.Random(seed)
    killed, errors = 0, out.parent / "errors"
    while True:
        before = written(out)
        pid = server.start(words_of(data, out), errors)
        if killed == kills:
            assert server.wait(pid) == 0, errors.read_text()
            return
        wait_for(lambda: written(out) != before)  # noqa: B023
        time.sleep(chance.uniform(0, 0.15))
        os.kill(pid, signal.SIGKILL)
        status = server.wait(pid)
        assert status in (0, -signal.SIGKILL), errors.read_text()
        if status == 0:
            return
        killed += 1
        for path in saved_states(out):
            load(path)  # whatever has its name is whole
        if (out / "checkpoint" / "model.safetensors").exists():
            load_checkpoint(out / "checkpoint")


def test_killed_and_resumed_is_never_killed(
    server: Any, data: Path, straight: Path, tmp_path: Path
) -> None:
    kill_at_random(server, data, tmp_path / "run", kills=3, seed=0)
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(1, 6))
def test_killed_often_and_resumed_is_never_killed(
    seed: int, server: Any, data: Path, straight: Path, tmp_path: Path
) -> None:
    kill_at_random(server, data, tmp_path / "run", kills=10, seed=seed)
    assert_same_run(straight, tmp_path / "run")


def test_no_space_is_one_sentence_and_the_run_goes_on_once_there_is(
    server: Any, data: Path, straight: Path, tmp_path: Path
) -> None:
    """Files of a process may grow to a limit only, which stands for a disk that is full."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    cfg = load_config(TrainingConfig, *split(words_of(data, out)))
    with pytest.raises(KeyboardInterrupt):
        train_with(cfg, watch=CtrlC(4))
    kept = saved_states(out)[-1]
    before = kept.read_bytes()
    pid = server.start(words_of(data, out), errors, file_limit=len(before) // 2)
    assert server.wait(pid) == FAILED
    said = [line for line in errors.read_text().splitlines() if line.startswith("microturn train:")]
    assert len(said) == 1
    assert "cannot be written (File too large" in said[0]
    assert "Traceback" not in errors.read_text()
    assert kept.read_bytes() == before
    assert not list((out / "states").glob(".*"))
    assert main(["train", *words_of(data, out)]) == 0
    assert_same_run(straight, out)
