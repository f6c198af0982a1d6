"""Every chunk of paced clients is accounted for; what may not be lost is a fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.load import ConfigError
from microturn.configs.main import main
from microturn.evaluation.bench.config import BenchServeConfig
from microturn.evaluation.bench.serving.bench import faults_of, figures
from microturn.evaluation.bench.serving.clients import PacedTalk


def test_the_server_alone_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "serve.json"
    words = [
        "clients=2",
        "duration_s=3",
        "sleep_ms=12",
        "max_waiting=15",
        "max_behind_ms=[0]",
        f"json={out}",
    ]
    assert main(["bench", "serve", *words]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["n_sent"], row["n_answered"], row["n_lost"], row["n_unaccounted"]) == (30, 30, 0, 0)
    assert row["round_trip"]["p50_ms"] >= row["lag"]["p50_ms"] >= 12
    assert "a batch that sleeps 12 ms" in capsys.readouterr().out


def test_overload_costs_answers_and_no_delay_that_stays(tmp_path: Path) -> None:
    """A batch that takes twice the time of a micro-turn: half is lost either way."""
    out = tmp_path / "serve.json"
    words = ["clients=2", "duration_s=7", "sleep_ms=400", "keep_waiting=[5,1]", f"json={out}"]
    assert main(["bench", "serve", *words]) == 0
    before, now = json.loads(out.read_text())["rows"]
    for row in (before, now):
        assert row["n_sent"] == row["n_answered"] + row["n_lost"] == 70
        assert row["n_unaccounted"] == 0
        assert row["n_lost"] >= 20
    assert now["lag"]["p50_ms"] < before["lag"]["p50_ms"]


@pytest.mark.slow  # ten minutes
@pytest.mark.timeout(900)
def test_ten_minutes_of_four_clients_of_the_model() -> None:
    assert main(["bench", "serve", "clients=4", "duration_s=600"]) == 0


def talk_of(n: int, answered: set[int], lost: set[int]) -> PacedTalk:
    return PacedTalk(
        sent_s=[0.2 * k for k in range(n)],
        round_trip_ms=dict.fromkeys(answered, 20.0),
        lag_ms=dict.fromkeys(answered, 15.0),
        lost=lost,
    )


def row_of(talk: PacedTalk, **more: Any) -> dict[str, Any]:
    return {**figures([talk]), "ticks_below_100_ms": 1.0, **more}


def test_what_must_not_be_is_said() -> None:
    config = BenchServeConfig(sleep_ms=12.0, limit_p50_ms=5.0, limit_p99_ms=30.0)
    assert talk_of(5, {0, 1, 4}, {2, 3}).n_unaccounted == 0
    assert talk_of(5, {0, 1}, {2}).n_unaccounted == 2
    assert talk_of(5, {0, 1, 2, 3, 4}, {4}).n_unaccounted == 1  # both at once
    faults = faults_of(row_of(talk_of(5, {0, 1}, {2})), config)
    assert faults == [
        "2 chunks were neither answered nor named as lost",
        "1 chunks were lost, and 100.0% of the ticks took less than 100 ms",
        "p50 of the time that the server adds is 8.0 ms, above limit_p50_ms=5",
    ]
    slow = row_of(talk_of(5, {0, 1, 2}, {3, 4}), ticks_below_100_ms=0.98)
    assert faults_of(slow, BenchServeConfig()) == []
    ended = PacedTalk(sent_s=[0.0], over="1011 too slow")
    assert "a client's connection ended: 1011 too slow" in faults_of(row_of(ended), config)
    with pytest.raises(ConfigError, match="must be numbers from 1 to max_waiting=5"):
        BenchServeConfig(keep_waiting=[6])
