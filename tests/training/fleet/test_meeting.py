"""Ranks that torchrun starts once more meet each other, not those that are gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RANK = """
import os, signal, sys, time
import torch
import torch.distributed as dist
from microturn.configs.load import load_config
from microturn.training.config import TrainingConfig
from microturn.training.fleet.meeting import meet

attempt, rank = (os.environ[name] for name in ("TORCHELASTIC_RESTART_COUNT", "RANK"))
if (attempt, rank) == ("1", "0"):
    time.sleep(3)  # the other one comes first, and must not take the former one's address for this
cfg = load_config(TrainingConfig, [], ["data=unread", "out=unwritten", "devices=2"])
meeting = meet(cfg, None)
assert meeting is not None
meeting.connect(gpu=False)
ones = torch.ones(1)
dist.all_reduce(ones)
if (attempt, rank) == ("0", "1"):
    os.kill(os.getpid(), signal.SIGKILL)
if rank == "0":
    open(sys.argv[1], "a").write(f"{attempt} {ones.item():g}\\n")
dist.barrier()
"""


def test_ranks_that_are_started_again_meet(tmp_path: Path) -> None:
    script, met = tmp_path / "rank.py", tmp_path / "met"
    script.write_text(RANK, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=1", str(script), str(met)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert met.read_text(encoding="utf-8").endswith("1 2\n")
