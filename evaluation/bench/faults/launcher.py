"""Trainings under torchrun that lose a rank or a machine, and go on by themselves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from microturn.evaluation.bench.faults.ranks import START_S

# Agents share a store by default, whose address one that comes back is never told.
STORE_OF_RANKS: Final = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


class Torchrun:
    """A torchrun with its ranks: one machine of a run. variables: of the environment, besides."""

    def __init__(
        self,
        options: Sequence[str],
        words: Sequence[str],
        errors: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", *options]
        command += ["-m", "microturn.configs.main", "train", *words]
        with errors.open("ab") as file:
            self.process = subprocess.Popen(
                command,
                stderr=file,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **(variables or {})},
            )

    def ranks(self) -> list[int]:
        """Process ids of the ranks, in their order."""
        pid = self.process.pid
        pids: list[int] = []
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (task / "children").read_text(encoding="utf-8").split())
        return sorted(pids)

    def kill(self) -> None:
        """End the machine at once, with all that runs on it."""
        for pid in [*self.ranks(), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def lose_a_rank(words: Sequence[str], n: int, errors: Path, is_saved: Callable[[], bool]) -> int:
    """Kill a rank of a run that torchrun may start again; returns its exit code."""
    options = ["--standalone", f"--nproc-per-node={n}", "--max-restarts=1"]
    agent = Torchrun(options, [*words, f"devices={n}"], errors)
    try:
        _wait_for(is_saved, agent)
        os.kill(agent.ranks()[n // 2], signal.SIGKILL)
        return agent.process.wait(START_S)
    finally:
        _end(agent)


def lose_a_machine(words: Sequence[str], n: int, errors: Path, is_saved: Callable[[], bool]) -> int:
    """Kill one of two machines and let it come back; returns the first one's exit code."""
    options = ["--nnodes=2", f"--nproc-per-node={n // 2}", "--max-restarts=3"]
    options += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    words = [*words, f"devices={n // 2}", "nodes=2"]
    first = Torchrun(options, words, errors, STORE_OF_RANKS)
    time.sleep(2.0)  # it holds the meeting
    second = Torchrun(options, words, errors, STORE_OF_RANKS)
    try:
        _wait_for(is_saved, first)
        second.kill()
        second = Torchrun(options, words, errors, STORE_OF_RANKS)
        return first.process.wait(START_S)
    finally:
        _end(first)
        _end(second)


def _wait_for(is_saved: Callable[[], bool], agent: Torchrun) -> None:
    end_s = time.monotonic() + START_S
    while not is_saved():
        if time.monotonic() > end_s or agent.process.poll() is not None:
            raise ValueError("a run under torchrun saved no state")
        time.sleep(0.05)


def _end(agent: Torchrun) -> None:
    if agent.process.poll() is None:
        try:
            agent.process.wait(20.0)  # it ends with the others
        except subprocess.TimeoutExpired:
            agent.kill()


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
