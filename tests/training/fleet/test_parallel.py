"""Layouts of shared weights and split experts: the steps are those of one process.

Processes talk by gloo on the CPU. Differences are relative to the norm of a tensor. Gradients are
the averages that the optimiser keeps.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from microturn.configs.load import ConfigError
from microturn.configs.main import main
from microturn.training import config_of
from microturn.training.state import remove, saved_states
from support.states import state_at, tensors_of

STEPS = 4
GRADIENT_TOLERANCE, LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-6, 1e-5, 1e-4


def words_of(data: Path, out: Path, *more: str) -> list[str]:
    fixed = ["batch_size=4", f"max_steps={STEPS}", "checkpoint_steps=1", "checkpoints_kept=99"]
    where = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu", "logger=csv"]
    return ["training/smoke.yaml", "checkpoint_minutes=0", "log_steps=1", *where, *fixed, *more]


def layout(data: int = 1, shard: int = 1, expert: int = 1) -> list[str]:
    return [f"parallel.data={data}", f"parallel.shard={shard}", f"parallel.expert={expert}"]


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, all experts."""
    out = tmp_path_factory.mktemp("one") / "run"
    assert main(["train", *words_of(data, out)]) == 0
    return out


def assert_equal_runs(one: Path, other: Path, steps: int) -> None:
    """Compare gradients after one step, losses of all steps, weights after the last."""
    a, b = (tensors_of(state_at(out, 1)) for out in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        if name.startswith(("optimiser/m/", "optimiser/momentum/")):
            assert apart(a[name], b[name]) < GRADIENT_TOLERANCE, name
    for name, losses in losses_of(one).items():
        assert len(losses) == steps
        assert losses_of(other)[name] == pytest.approx(losses, rel=LOSS_TOLERANCE), name
    a, b = (load_file(out / "checkpoint" / "model.safetensors") for out in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        if name.endswith("selection_bias"):
            assert torch.equal(a[name], b[name]), name
        else:
            assert apart(a[name], b[name]) < WEIGHT_TOLERANCE, name


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the norm of the difference, relative to that of the first."""
    assert one.shape == other.shape
    return float((one - other).norm() / one.norm().clamp_min(1e-12))


def losses_of(out: Path) -> dict[str, list[float]]:
    """Read losses and gradient norms of all steps, by name, in all their digits."""
    [path] = (out / "lightning").rglob("metrics.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["loss/loss"]]
    names = [name for name in rows[0] if name.startswith("loss/") or name == "gradient"]
    return {name: [float(row[name]) for row in rows] for name in names}


def test_experts_on_two_devices_take_the_steps_of_one_and_go_on_anywhere(
    server: Any, data: Path, one: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    words = words_of(data, out, *layout(expert=2))
    server.wait_for_ranks(server.start_ranks(words, errors), errors)
    assert "2 devices (data 1 x shard 1 x expert 2)" in (tmp_path / "errors0").read_text()
    assert_equal_runs(one, out, STEPS)
    for path in saved_states(out)[2:]:
        remove(path)
    assert main(["train", *words_of(data, out)]) == 0
    a, b = (tensors_of(state_at(run, STEPS)) for run in (one, out))
    for name in a:
        if name.startswith("model/"):
            assert apart(a[name], b[name]) < WEIGHT_TOLERANCE, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("data_groups", "shard", "expert", "more"),
    [
        (2, 1, 1, ()),
        (1, 2, 1, ()),
        (1, 1, 2, ()),
        (1, 1, 4, ()),
        (1, 2, 2, ()),
        (2, 1, 2, ()),
        (2, 2, 1, ()),
        (1, 4, 1, ()),
        (1, 1, 2, ("activation_checkpointing=true",)),
        (1, 1, 2, ("accumulate=2",)),
        (1, 2, 2, ("freeze=embed,layer.1",)),
        (1, 2, 2, ("model.moe.n_experts=2", "model.moe.top_k=1")),
    ],
)
def test_twenty_steps_are_those_of_one_process(
    data_groups: int,
    shard: int,
    expert: int,
    more: tuple[str, ...],
    server: Any,
    data: Path,
    tmp_path: Path,
) -> None:
    """The last layout has fewer experts than devices."""
    words = [*more, "max_steps=20"]
    assert main(["train", *words_of(data, tmp_path / "one", *words)]) == 0
    out, errors = tmp_path / "run", tmp_path / "errors"
    ranks = words_of(data, out, *words, *layout(data_groups, shard, expert))
    n = data_groups * shard * expert
    server.wait_for_ranks(server.start_ranks(ranks, errors, n), errors)
    assert_equal_runs(tmp_path / "one", out, 20)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_changes_its_layout_on_the_way_ends_as_one_that_does_not(
    server: Any, data: Path, one: Path, tmp_path: Path
) -> None:
    """Each of four layouts takes one step and leaves its state to the next one."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    layouts = [layout(expert=4), layout(shard=2, expert=2), layout(2, 1, 2), layout(data=4)]
    for step, keys in enumerate(layouts, start=1):
        words = words_of(data, out, *keys)
        server.wait_for_ranks(server.start_ranks(words, errors, 4), errors)
        for path in saved_states(out)[step:]:
            remove(path)
        if step < STEPS:
            shutil.rmtree(out / "lightning")
    a, b = (tensors_of(state_at(run, STEPS)) for run in (one, out))
    for name in a:
        if name.startswith("model/"):
            assert apart(a[name], b[name]) < WEIGHT_TOLERANCE, name


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("devices=4 parallel.shard=3", "parallel.shard x parallel.expert=3 must divide nodes x"),
        (
            "devices=4 parallel.data=2",
            "parallel.data x parallel.shard x parallel.expert=2 must be nodes x devices=4",
        ),
        ("devices=3 parallel.expert=3", "parallel.expert=3 must divide model.moe.n_experts=4"),
        (
            "devices=2 parallel.expert=2 model.moe.n_experts=0",
            "parallel.expert=2 must divide model.moe.n_experts=0",
        ),
        ("devices=2 parallel.shard=0", "parallel.shard=0 must be at least 1"),
        (
            "devices=2 parallel.shard=2 heard.own_share=0.5",
            "heard.own_share needs whole weights on a device; leave out parallel.shard",
        ),
        ("devices=4 parallel.shard=2 batch_size=6", "batch_size=6 must be a multiple of nodes x"),
        ("devices=2 strategy=fsdp", "strategy was renamed to parallel.shard"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(words: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of(["training/smoke.yaml", "data=set", "out=run", "batch_size=12", *words.split()])
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
