"""A harmed training says why it ends and goes on to the weights of one that nothing harmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microturn.configs.main import RANK_LOST, WRONG_USAGE, main
from microturn.evaluation.bench.faults.bench import FaultRow, table


def test_unknown_faults_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "faults", f"out={tmp_path}", "faults=[killed,burnt]"]) == WRONG_USAGE
    assert "faults=burnt are none of killed, first_killed, " in capsys.readouterr().err


def test_a_run_that_hangs_stands_out() -> None:
    row = FaultRow(
        fault="a rank sleeps",
        said="",
        exit_codes=[1, 75],
        seconds=None,
        lost_steps=2,
        apart=None,
    )
    assert (
        table([row]).splitlines()[-1]
        == "| a rank sleeps |  | 1, 75 | it hung | 2 | it did not go on |"
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_but_the_steps_since_the_last_state(tmp_path: Path) -> None:
    names = "killed,terminated,reader_stopped,not_a_number,shard_damaged,torchrun"
    words = [f"faults=[{names}]", f"out={tmp_path / 'runs'}", "n_ranks=2", "silence_s=10"]
    assert main(["bench", "faults", *words, f"json={tmp_path / 'rows.json'}"]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert all(row["apart"] == 0 and row["lost_steps"] <= 4 for row in rows.values())
    assert rows["killed"]["said"].startswith("rank 1 (")
    assert rows["reader_stopped"]["said"].startswith("rank 1 (")
    assert rows["terminated"]["lost_steps"] == 0
    codes = {name: row["exit_codes"] for name, row in rows.items()}
    assert codes["killed"] == codes["reader_stopped"] == [RANK_LOST]
    assert codes["terminated"] == [143]
    assert codes["not_a_number"] == codes["shard_damaged"] == [1]
    assert codes["torchrun"] == [0]
