"""What a run writes down while it goes on."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from microturn.training.log import CsvLog

Train = Callable[..., int]
NAMED = {
    "loss/loss",
    "loss/heard",
    "loss/say",
    "loss/flow",
    "loss/z",
    "gradient",
    "rate",
    "router/imbalance",
    "router/audio_in",
    "router/text_in",
    "router/heard",
    "router/say",
    "router/audio_out",
}


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_loss_and_the_balance_by_lane_are_in_both_logs(
    data: Path, tmp_path: Path, train: Train
) -> None:
    assert train(data, tmp_path, "max_steps=4", "log=both", "log_steps=2") == 0
    rows = read(tmp_path / "log" / "metrics.csv")
    assert [row["step"] for row in rows] == ["2", "4"]
    assert set(rows[0]) >= NAMED
    for row in rows:
        parts = [float(row[f"loss/{name}"]) for name in ("heard", "say", "flow", "z")]
        assert float(row["loss/loss"]) == pytest.approx(sum(parts), rel=1e-3)
        assert 1.0 <= float(row["router/audio_in"]) <= 4.0  # largest over mean of four experts
    (file,) = (tmp_path / "log").glob("events.*")
    board = events(file)
    assert {(step, name) for step, name in board if name in NAMED} == {
        (step, name) for step in (2, 4) for name in NAMED
    }
    for row in rows:
        value = board[(int(row["step"]), "loss/say")]
        assert value == pytest.approx(float(row["loss/say"]), rel=1e-4)


def events(path: Path) -> dict[tuple[int, str], float]:
    """Scalars of an event file: records of a length, its checksum, a message and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found, content, at = {}, path.read_bytes(), 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + size])
        for value in event.summary.value:
            found[(event.step, value.tag)] = value.simple_value
        at += 12 + size + 4
    return found


def test_a_log_goes_on_where_the_run_does(tmp_path: Path) -> None:
    path = tmp_path / "log" / "metrics.csv"
    first = CsvLog(path, 0)
    for step in (2, 4, 6):
        first.write(step, {"b": float(step)})
    again = CsvLog(path, 4)  # killed; what came after step 4 is done anew
    again.write(6, {"b": 6.5, "a": 1.0})
    again.write(8, {"b": 8.0})
    again.close()
    assert path.read_text().splitlines() == ["step,a,b", "2,,2", "4,,4", "6,1,6.5", "8,,8"]


def test_a_log_of_runs_that_were_killed_has_every_step_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = CsvLog(path, 0)
    for step in range(1, 8):
        first.write(step, {"loss": 1.0 / step, "rate": 0.5})
    CsvLog(path, 5).write(6, {"loss": 1.0 / 6, "rate": 0.5})  # killed with steps 6 and 7 undone
    with path.open("a") as file:
        file.write("7,0.1")  # and again in the middle of a line
    CsvLog(path, 6).write(7, {"loss": 1.0 / 7, "rate": 0.5})
    lines = path.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["step", *"1234567"]
