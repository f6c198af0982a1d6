import json
from pathlib import Path

import pytest

from microturn.configs.main import main

QUICK = ["sessions=[1,2]", "micro_turns=4", "warm_up=1"]


def test_bench_session_writes_a_row_for_each_number_of_sessions(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bench.json"
    words = [*QUICK, f"json={target}", f"checkpoint={checkpoint_folder}"]
    assert main(["bench", "session", *words]) == 0
    assert "p99 ms" in capsys.readouterr().out
    rows = json.loads(target.read_text())["sessions"]
    assert list(rows) == ["1", "2"]
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]


def test_json_to_stdout_is_nothing_but_json(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "session", *QUICK, "json=-", f"checkpoint={checkpoint_folder}"]) == 0
    assert "1" in json.loads(capsys.readouterr().out)["sessions"]


def test_a_limit_that_is_not_kept_is_exit_code_1(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "limit_ms=0.0001", f"checkpoint={checkpoint_folder}"]
    assert main(["bench", "session", *words]) == 1
    assert "above limit_ms=0.0001" in capsys.readouterr().err


def test_a_tiny_micro_turn_fits_its_budget() -> None:
    """A guard against gross regressions; `bench session` measures the promised 60 ms."""
    words = ["sessions=[1]", "micro_turns=30", "warm_up=5", "limit_ms=200"]
    assert main(["bench", "session", *words]) == 0


def test_sessions_must_be_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "session", "sessions=[0]"]) == 2
    assert "sessions=[0] must be counts of at least 1" in capsys.readouterr().err
