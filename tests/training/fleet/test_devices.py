"""Parts, devices and ways to compute: the gradient of the step is that of one process.

Two processes talk by gloo on the CPU. Stated tolerance: after one step the averages of gradients
that the optimiser keeps (Adam's first moment, Muon's momentum) differ by less than 2e-6 of their
largest entry, in compiled blocks by less than 5e-6; sums in another order explain it. Weights after
four steps: 1e-3.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from microturn.configs.main import main
from microturn.training.state import load, path_of, saved_states
from support.states import state_at, tensors_of

STEPS = 4
GRADIENT_TOLERANCE, WEIGHT_TOLERANCE = 2e-6, 1e-3


def words_of(data: Path, out: Path, *more: str) -> list[str]:
    fixed = ["batch_size=4", f"max_steps={STEPS}", "checkpoint_steps=1", "checkpoints_kept=9"]
    where = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu", "log_steps=1"]
    return ["training/smoke.yaml", *where, *fixed, *more]


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, the batch of a step at once."""
    out = tmp_path_factory.mktemp("one") / "run"
    assert main(["train", *words_of(data, out)]) == 0
    return out


def apart(one: dict[str, Tensor], other: dict[str, Tensor], names: list[str]) -> float:
    """The largest difference, relative to the largest entry of its tensor."""
    assert names
    return max(
        float((one[n] - other[n]).abs().max() / one[n].abs().max().clamp_min(1e-12)) for n in names
    )


def assert_equal_steps(one: Path, other: Path, tolerance: float = GRADIENT_TOLERANCE) -> None:
    first, other_first = (tensors_of(state_at(out, 1)) for out in (one, other))
    assert first.keys() == other_first.keys()
    gradients = [n for n in first if n.startswith(("optimiser/m/", "optimiser/momentum/"))]
    assert apart(first, other_first, gradients) < tolerance
    last, other_last = (tensors_of(state_at(out, STEPS)) for out in (one, other))
    biases = [n for n in last if n.endswith("selection_bias")]
    assert biases
    assert all(torch.equal(last[n], other_last[n]) for n in biases)
    weights = [n for n in last if n.startswith("model/") and n not in biases]
    assert apart(last, other_last, weights) < WEIGHT_TOLERANCE
    assert losses(one) == pytest.approx(losses(other), rel=1e-4)


def losses(out: Path) -> list[float]:
    """All that is logged as a loss, of all steps."""
    rows = [line.split(",") for line in (out / "log" / "metrics.csv").read_text().splitlines()]
    columns = [i for i, name in enumerate(rows[0]) if name.startswith("loss/")]
    return [float(row[i]) for row in rows[1:] for i in columns]


def test_parts_add_up_to_the_step(data: Path, one: Path, tmp_path: Path) -> None:
    assert main(["train", *words_of(data, tmp_path, "accumulate=4")]) == 0
    assert_equal_steps(one, tmp_path)


def test_blocks_computed_again_give_the_same_bits(data: Path, one: Path, tmp_path: Path) -> None:
    assert main(["train", *words_of(data, tmp_path, "activation_checkpointing=true")]) == 0
    for step in (1, STEPS):
        a, b = (tensors_of(state_at(out, step)) for out in (one, tmp_path))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_without_a_compiler_compiling_is_refused(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    assert main(["train", *words_of(data, tmp_path / "run", "compile=true")]) != 0
    assert "there is none on PATH; install one or give compile=false" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_blocks_learn_the_same(
    data: Path, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    assert main(["train", *words_of(data, tmp_path, "compile=true")]) == 0
    assert_equal_steps(one, tmp_path, tolerance=5e-6)


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(1800)
def test_compiled_blocks_with_split_experts_learn_the_same(
    server: Any, data: Path, one: Path, tmp_path: Path
) -> None:
    """Rows travel between compiled parts of a block."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    words = words_of(data, out, "compile=true", "parallel.expert=2")
    server.wait_for_ranks(server.start_ranks(words, errors), errors)
    assert_equal_steps(one, out, tolerance=5e-6)


def test_two_processes_take_the_steps_of_one(
    server: Any, data: Path, one: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    server.wait_for_ranks(server.start_ranks(words_of(data, out, "accumulate=2"), errors), errors)
    assert_equal_steps(one, out)
    assert len((tmp_path / "errors1").read_text()) == 0  # the first one speaks for both


@pytest.fixture(scope="module")
def sharded(server: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes that share the weights."""
    out = tmp_path_factory.mktemp("sharded") / "run"
    errors = out.with_name("errors")
    streaming = (f"streaming_validation.data={data}", "streaming_validation.n_dialogues=1")
    words = words_of(data, out, "parallel.shard=2", *streaming)
    server.wait_for_ranks(server.start_ranks(words, errors), errors)
    return out


def test_sharded_weights_take_the_steps_of_one(one: Path, sharded: Path) -> None:
    assert_equal_steps(one, sharded)
    scores = (sharded / "streaming_validation" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in scores] == [STEPS]
    for path in saved_states(sharded):
        pieces = [load_file(each) for each in sorted(path.glob("*.safetensors"))]
        assert len(pieces) == 2
        whole = sum(value.nbytes for value in tensors_of(path).values())
        shares = [sum(value.nbytes for value in each.values()) for each in pieces]
        assert sum(shares) == whole  # nothing twice
        assert max(shares) < 0.52 * whole
    weights = load_file(sharded / "checkpoint" / "model.safetensors")
    last = tensors_of(state_at(sharded, STEPS))
    assert all(torch.equal(value, last[f"model/{name}"]) for name, value in weights.items())


def test_sharded_weights_begin_as_those_of_one(
    server: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate of zero leaves weights as they were drawn; they have the bits of one process."""
    still = ("max_steps=1", "optim.lr=0", "optim.muon_lr=0", "model.moe.bias_speed=0")
    alone, out, errors = tmp_path / "alone", tmp_path / "run", tmp_path / "errors"
    assert main(["train", *words_of(data, alone, *still)]) == 0
    words = words_of(data, out, "parallel.shard=2", *still)
    server.wait_for_ranks(server.start_ranks(words, errors), errors)
    weights = [run / "checkpoint" / "model.safetensors" for run in (alone, out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("whole", [True, False])
def test_a_state_goes_on_in_another_layout(
    whole: bool, server: Any, data: Path, one: Path, sharded: Path, tmp_path: Path
) -> None:
    """From one process to two that share the weights, and back."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    source = state_at(one if whole else sharded, 2)
    place = out / "states" / source.name
    place.parent.mkdir(parents=True)
    shutil.copy(source, place) if whole else shutil.copytree(source, place)
    if whole:
        words = words_of(data, out, "parallel.shard=2")
        server.wait_for_ranks(server.start_ranks(words, errors), errors)
        assert "resuming at step 2" in (tmp_path / "errors0").read_text()
    else:
        assert main(["train", *words_of(data, out)]) == 0
    straight = tensors_of(state_at(one, STEPS))
    went_on = tensors_of(state_at(out, STEPS))
    names = [n for n in straight if n.startswith("model/")]
    assert apart(straight, went_on, names) < WEIGHT_TOLERANCE
    assert losses(out) == pytest.approx(losses(one)[-len(losses(out)) :], rel=1e-4)


def test_a_killed_process_leaves_the_state_before_and_one_process_goes_on(
    server: Any, data: Path, tmp_path: Path
) -> None:
    straight, out, errors = tmp_path / "straight", tmp_path / "run", tmp_path / "errors"
    length = "max_steps=20"
    assert main(["train", *words_of(data, straight, length)]) == 0
    pids = server.start_ranks(words_of(data, out, "parallel.shard=2", length), errors)
    wait_for_states(out, 2)
    os.kill(pids[1], signal.SIGKILL)
    assert server.wait(pids[1]) == -signal.SIGKILL
    assert server.wait(pids[0]) != 0
    saved = saved_states(out)
    for path in saved[2:]:
        shutil.rmtree(path)
    half = saved[0].with_name("step00000003")  # as on a disk that renames before it writes
    shutil.copytree(saved[0], half)
    (half / "index.json").unlink()
    assert main(["train", *words_of(data, out, length)]) == 0
    assert not half.exists()
    a, b = losses_by_step(straight), losses_by_step(out)
    assert all(b[step] == pytest.approx(a[step], rel=1e-4) for step in range(3, 7))
    assert all(b[step] == pytest.approx(a[step], rel=1e-2) for step in range(3, 21))


def losses_by_step(out: Path) -> dict[int, list[float]]:
    with (out / "log" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {int(r["step"]): [float(v) for n, v in r.items() if n.startswith("loss/")] for r in rows}


def wait_for_states(out: Path, n: int) -> None:
    end = time.monotonic() + 240
    while len(saved_states(out)) < n and time.monotonic() < end:
        time.sleep(0.05)


def test_a_run_starts_from_a_state_in_pieces(
    data: Path, sharded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = (f"init={state_at(sharded, 2)}", "max_steps=1", "optim.lr=0", "optim.muon_lr=0")
    assert main(["train", *words_of(data, tmp_path, *start, "model.moe.bias_speed=0")]) == 0
    a, b = tensors_of(state_at(sharded, 2)), tensors_of(state_at(tmp_path, 1))
    assert all(torch.equal(a[n], b[n]) for n in a if n.startswith("model/"))


def test_one_of_two_processes_is_interrupted(server: Any, data: Path, tmp_path: Path) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    pids = server.start_ranks(words_of(data, out, "max_steps=100000"), errors)
    end = time.monotonic() + 120
    while not saved_states(out) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(pids[1], signal.SIGINT)
    server.wait_for_ranks(pids, errors, code=128 + signal.SIGINT)
    assert load(saved_states(out)[-1]).step > 0


def test_what_one_of_two_processes_cannot_read_stops_both(
    server: Any, data: Path, one: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "set")
    tar = sorted((tmp_path / "set").glob("*.tar"))[0]
    tar.write_bytes(tar.read_bytes()[:512].ljust(tar.stat().st_size, b"\0"))
    out, errors = tmp_path / "run", tmp_path / "errors"
    (out / "states").mkdir(parents=True)
    shutil.copy(path_of(one, 2), path_of(out, 2))
    words = words_of(tmp_path / "set", out)
    server.wait_for_ranks(server.start_ranks(words, errors), errors, code=1)
    assert (tmp_path / "errors0").read_text().count(f"microturn train: {tar}") == 1
    assert [load(path).step for path in saved_states(out)] == [2]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("axis", ["data", "shard"])
def test_devices_are_launched_from_the_command_line(
    axis: str, data: Path, one: Path, tmp_path: Path
) -> None:
    words = words_of(data, tmp_path, "devices=2", f"parallel.{axis}=2")
    command = [sys.executable, "-m", "microturn.configs.main", "train", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert_equal_steps(one, tmp_path)


def test_a_batch_that_cannot_be_cut_is_refused(
    data: Path, tmp_path: Path, train: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "batch_size=6", "accumulate=4") == 2
    assert "batch_size=6 must be a multiple of" in capsys.readouterr().err
