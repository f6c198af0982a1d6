import json
from pathlib import Path

import pytest

from microturn.configs.main import main


def test_bench_environment_times_a_micro_turn_beside_its_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "environment.json"
    words = ["mixes=[datagen/smoke.yaml]", "n_episodes=1", "warm_up=0", "n_micro_turns=60"]
    assert main(["bench", "environment", *words, f"json={target}"]) == 0
    row = json.loads(target.read_text())["micro_turn_ms"]["datagen/smoke.yaml"]
    assert set(row) == {"step", "p95", "floor", "reset", "with_reset"}
    assert row["with_reset"] > row["step"] > 0
    assert "floor" in capsys.readouterr().out


def test_counts_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "environment", "n_episodes=0"]) == 2
    assert "n_episodes=0 must be at least 1" in capsys.readouterr().err
