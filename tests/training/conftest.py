"""A small shard set and a way to train on it, for all tests of training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from microturn.configs.main import main


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight dialogues of 20 micro-turns in two tars."""
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=8", "workers=1"]
    assert main([*words, "n_micro_turns=20", "dialogues_per_shard=4"]) == 0
    return out


@pytest.fixture(scope="session")
def train() -> Callable[..., int]:
    """`microturn train` of a very small model, through the command line."""

    def run(data: Path | str, out: Path, *words: str) -> int:
        fixed = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu"]
        return main(["train", "training/smoke.yaml", *fixed, *words])

    return run
