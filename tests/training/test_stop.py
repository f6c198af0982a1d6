"""Real signals, Slurm's variables and a full /dev/shm, sent to real trainings."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from microturn.training.cli import TRAIN
from microturn.training.cluster import choose_cluster, slurm_tasks
from microturn.training.config import TrainingConfig
from microturn.training.state import load, saved_states

ENDLESS = ("max_steps=100000", "checkpoint_minutes=0", "log_steps=1")
ONE_TASK = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1"}
ONE_TASK |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


def words_of(data: Path, out: Path, *more: str) -> list[str]:
    where = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu"]
    return ["training/smoke.yaml", *where, *more]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def logged(out: Path) -> int:
    """The last step that is in the log."""
    log = out / "log" / "metrics.csv"
    lines = log.read_text().splitlines() if log.exists() else []
    return max((int(line.partition(",")[0]) for line in lines[1:]), default=0)


def last_line(errors: Path) -> str:
    said = errors.read_text()
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_loses_no_step(
    number: int, server: Any, data: Path, tmp_path: Path
) -> None:
    """As a terminal, Slurm or Docker sends it: the reader of shards gets it too, and all twice."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    words = words_of(data, out, *ENDLESS, "loader_workers=1")
    pid = server.start(words, errors)
    wait_for(lambda: logged(out) > 0)
    before = logged(out)
    os.killpg(pid, number)
    if number == signal.SIGTERM:
        time.sleep(0.1)
        os.killpg(pid, number)
    assert server.wait(pid) == 128 + number, errors.read_text()
    (kept,) = saved_states(out)
    state = load(kept)
    assert state.step == logged(out) >= before
    saved = load_file(out / "checkpoint" / "model.safetensors")
    stored = load_file(kept)
    assert all(torch.equal(saved[name], stored[f"model/{name}"]) for name in state.weights)
    line = last_line(errors)
    name = signal.Signals(number).name
    assert line.startswith(f"microturn train: stopped by {name}; {kept} is saved; continue with: ")
    assert line.endswith(" train " + " ".join(words))


def test_sigusr1_of_slurm_saves_and_the_run_goes_on(
    server: Any, data: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    pid = server.start(words_of(data, out, *ENDLESS, "loader_workers=1"), errors, env=ONE_TASK)
    wait_for(lambda: logged(out) > 0)
    os.killpg(pid, signal.SIGUSR1)
    wait_for(lambda: bool(saved_states(out)))
    saved = load(saved_states(out)[-1]).step
    wait_for(lambda: logged(out) > saved)
    second = server.start(words_of(data, out), tmp_path / "second")
    assert server.wait(second) == 1
    assert "another `microturn train` is running there; wait for it" in last_line(
        tmp_path / "second"
    )
    os.kill(pid, signal.SIGTERM)
    assert server.wait(pid) == 128 + signal.SIGTERM, errors.read_text()
    assert load(saved_states(out)[-1]).step > saved
    assert "SIGUSR1: saving after this step, and going on" in errors.read_text()
    assert not list(tmp_path.rglob("*.ckpt"))  # nothing of Lightning's own


def test_before_the_first_step_nothing_is_promised(tmp_path: Path) -> None:
    assert TRAIN.on_interrupt is not None
    cfg = TrainingConfig(data="d", out=str(tmp_path))
    assert TRAIN.on_interrupt(cfg, "m train") == "nothing is finished; start it again with: m train"
    state = tmp_path / "states" / "step00000012.safetensors"
    state.parent.mkdir()
    state.touch()
    assert TRAIN.on_interrupt(cfg, "m train") == f"{state} is saved; continue with: m train"
    again = TrainingConfig(data="d", out=str(tmp_path), resume=False)
    assert TRAIN.on_interrupt(again, "m train resume=false").endswith(
        "continue with: m train resume=false resume=true"
    )


# --- Slurm ---------------------------------------------------------------------------------------
def test_more_tasks_than_devices_are_one_sentence(server: Any, data: Path, tmp_path: Path) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    tasks = ONE_TASK | {"SLURM_NTASKS": "2"}
    assert server.wait(server.start(words_of(data, out), errors, env=tasks)) == 1
    said = errors.read_text().strip()
    assert len(said.splitlines()) == 1
    assert "Slurm starts 2 tasks, each of them a whole run" in said
    assert "give devices=2, or start one task: srun --ntasks=1" in said
    assert not out.exists()


def test_slurm_starts_the_processes_only_where_it_has_a_task_for_each() -> None:
    config = TrainingConfig(data="d", out="o", devices=2)
    assert choose_cluster(config, {}) is None
    assert choose_cluster(config, {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}) is None
    one = choose_cluster(config, {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1"})
    assert not one.creates_processes_externally  # type: ignore[union-attr]
    two = choose_cluster(config, {"SLURM_NTASKS": "2"})
    assert two.creates_processes_externally  # type: ignore[union-attr]
    assert not two.auto_requeue  # type: ignore[union-attr]
    assert slurm_tasks({"SLURM_NTASKS": "4(x2)"}) == 0


# --- /dev/shm ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kilobytes", "code"), [(64, 0), (-1, 1)])
def test_a_small_or_full_dev_shm_is_no_hang(
    kilobytes: int, code: int, server: Any, data: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    words = words_of(data, out, "loader_workers=2", "batch_size=8", "max_steps=3")
    status = server.wait(server.start(words, errors, shm=kilobytes))
    if status == 77:
        pytest.skip("mounting a small /dev/shm needs root")
    assert status == code, errors.read_text()
    if code:
        said = last_line(errors)
        assert "loader_workers=2 needs room in /dev/shm, which is full" in said
        assert re.search(r"--shm-size=1g\), or give loader_workers=0", said)
