"""A very small checkpoint on the shards of the tests of training, and runs that start from it."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkpoint(
    data: Path, tmp_path_factory: pytest.TempPathFactory, train: Callable[..., int]
) -> Path:
    """The checkpoint of a few supervised steps."""
    out = tmp_path_factory.mktemp("supervised") / "run"
    assert train(data, out, "max_steps=3") == 0
    return out / "checkpoint"


@pytest.fixture(scope="session")
def words(data: Path, checkpoint: Path) -> Callable[..., list[str]]:
    """The words of a run of `microturn reinforce` on recorded users."""

    def of(out: Path, *more: str) -> list[str]:
        where = [f"checkpoint={checkpoint}", f"environment={data}", f"data={data}", f"out={out}"]
        sizes = ["rollout.n_dialogues=2", "rollout.n_samples=2", "batch_size=2", "log_steps=2"]
        return [*where, *sizes, "threads=1", "accelerator=cpu", *more]

    return of
