"""What a run writes down while it goes on."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from microturn.configs.load import load_config
from microturn.training import train as training
from microturn.training.callbacks import Progress
from microturn.training.config import TrainingConfig
from microturn.training.log import CsvLog
from microturn.training.watch.expert_loads import DeadExperts, load_metrics
from microturn.training.watch.step_times import PARTS

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
    "router/smallest",
    "router/dead",
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
        assert 0.0 <= float(row["router/smallest"]) <= 1.0 <= float(row["router/imbalance"])
        parts = {part: float(row[f"time/{part}_s"]) for part in PARTS}
        assert all(seconds > 0 for seconds in parts.values()), parts
    seconds = float(rows[1]["seconds"]) - float(rows[0]["seconds"])
    spent = 2 * sum(float(rows[1][f"time/{part}_s"]) for part in PARTS)
    assert 0.3 * seconds < spent < 1.01 * seconds  # the rest is the trainer's own work
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


def test_a_dead_expert_is_counted_and_named_once() -> None:
    loads = {
        "block 1": torch.tensor([100.0, 100.0, 0.0, 200.0]),
        "block 2": torch.tensor([90.0, 110.0, 80.0, 120.0]),
    }
    metrics = load_metrics(torch.stack([*loads.values()]))
    assert float(metrics["router/smallest"]) == 0.0
    assert float(metrics["router/dead"]) == 1.0
    assert float(metrics["router/imbalance"]) == pytest.approx((2.0 + 1.2) / 2)
    dead = DeadExperts()
    dead.add(loads)
    dead.add(loads | {"block 1": torch.tensor([100.0, 100.0, 8.0, 192.0])})
    assert dead.take() == "block 1 expert 2 (0.04 of the mean load)"
    dead.add(loads)
    assert dead.take() == ""  # said already
    dead.add(loads | {"block 1": torch.full((4,), 100.0)})
    assert dead.take() == ""
    dead.add(loads)
    assert dead.take() == "block 1 expert 2 (0.00 of the mean load)"


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # of autocast on a CPU
def test_utilisation_is_that_of_the_faster_precision_and_slow_bf16_is_said(
    data: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run in bf16 computes in fp32, too: the share of the slower one would pass 100 %."""
    rates = {torch.float32: 50e9, torch.bfloat16: 0.4e9}
    monkeypatch.setattr(training, "matmul_rate", lambda device, dtype: rates[dtype])
    peaks = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
            peaks.extend(c._peak for c in trainer.callbacks if isinstance(c, Progress))  # type: ignore[attr-defined]

    words = [f"data={data}", f"out={tmp_path}", "max_steps=1", "accelerator=cpu", "precision=bf16"]
    cfg = load_config(TrainingConfig, ["training/smoke.yaml"], words)
    assert training.train(cfg, watch=Watch()) == 0
    assert peaks == [50e9]
    said = "precision=bf16 is slower than 32 here: matrix products run at 0.4 GFLOP/s against 50.0"
    assert said in capsys.readouterr().err
