"""Ranks that torchrun starts once more meet each other, not those that are gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from microturn.evaluation.bench.faults.launcher import free_port
from microturn.training.config import TrainingConfig
from microturn.training.fleet import meeting
from microturn.training.fleet.callbacks import WatchRanks
from microturn.training.fleet.rounds import Joining

# One process that forks its ranks: each of them would load torch and Lightning for itself.
LAUNCHER = """
import os, signal, sys, time
import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from microturn.configs.load import load_config
from microturn.training.config import TrainingConfig
from microturn.training.fleet.meeting import meet

def run_rank(path):
    attempt, rank = (os.environ[name] for name in ("TORCHELASTIC_RESTART_COUNT", "RANK"))
    if (attempt, rank) == ("1", "0"):
        time.sleep(3)  # the other comes first, and must not take the former one's address for this
    cfg = load_config(TrainingConfig, [], ["data=unread", "out=unwritten", "devices=2"])
    meeting = meet(cfg, None)
    assert meeting is not None
    meeting.connect(gpu=False)
    ones = torch.ones(1)
    dist.all_reduce(ones)
    if (attempt, rank) == ("0", "1"):
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == "0":
        with open(path, "a") as file:
            file.write(f"{attempt} {ones.item():g}\\n")
    dist.barrier()

launch = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=1, run_id="run",
    rdzv_backend="c10d", rdzv_endpoint="localhost:0", monitor_interval=0.1, start_method="fork",
)
elastic_launch(launch, run_rank)(sys.argv[1])
"""


def test_ranks_that_are_started_again_meet(tmp_path: Path) -> None:
    """The launcher of torchrun keeps its store while it starts the ranks again."""
    met = tmp_path / "met"
    command = [sys.executable, "-c", LAUNCHER, str(met)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert met.read_text(encoding="utf-8").endswith("1 2\n")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand where a launcher of two ranks has started one, and wait a second for the other."""

    def launch(*, rank: int, port: int, is_held: bool) -> None:
        monkeypatch.setattr(meeting, "MEETING", timedelta(seconds=1))
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "GROUP_RANK": 0}
        names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "run"}
        held = {"TORCHELASTIC_USE_AGENT_STORE": is_held}
        for name, value in (variables | names | held).items():
            monkeypatch.setenv(name, str(value))

    return launch


def test_who_does_not_come_is_named(
    launched: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    config = TrainingConfig(data="unread", out="unwritten", devices=2)
    launched(rank=0, port=store.port, is_held=True)
    with pytest.raises(
        OSError, match=r"^rank 1 did not come within 0 minutes \(meeting of 2 ranks"
    ):
        meeting.meet(config, None)
    assert capsys.readouterr().err == ""  # the command says it
    other = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched(rank=1, port=other.port, is_held=True)
    with pytest.raises(OSError, match="^rank 0 did not come"):
        meeting.meet(config, None)
    assert capsys.readouterr().err.startswith("microturn train: rank 0 did not come within")


def test_a_store_that_nobody_holds_is_named(
    launched: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    config = TrainingConfig(data="unread", out="unwritten", devices=2)
    for is_held, holder in ((True, "the launcher"), (False, "rank 0")):
        launched(rank=1, port=free_port(), is_held=is_held)
        with pytest.raises(OSError, match=f"^rank 1 gets no answer of the store.*{holder} holds"):
            meeting.meet(config, None)
    assert "microturn train: rank 1 gets no answer of the store" in capfd.readouterr().err


def test_who_met_and_cannot_connect_says_so(
    launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks have met, and one of them connects to nobody."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched(rank=0, port=store.port, is_held=True)
    monkeypatch.setattr(meeting, "MEETING", timedelta(seconds=20))
    one = Joining(store, rank=1, n_ranks=2)
    accepts = threading.Thread(target=one.wait, args=(20.0,))
    accepts.start()
    there = WatchRanks(limit_s=0, out=Path("unwritten"))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Gloo connectFullMesh failed with timeout")

    monkeypatch.setattr(meeting.dist, "init_process_group", fail)
    config = TrainingConfig(data="unread", out="unwritten", devices=2)
    with pytest.raises(OSError, match="^rank 0 met the others and cannot connect to them .*Gloo"):
        there.meet(config, None, gpu=False)
    accepts.join()
