"""The ranks of one training as processes that can be harmed, and what became of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from microturn.configs.reading import lines_of

START_S: Final = 600.0  # for a rank to import torch on a busy machine, and to take some steps
SAYS: Final = "microturn train: "


def _be_rank(words: list[str], errors: str, variables: dict[str, str]) -> None:
    """Run the command as a launcher such as torchrun starts it."""
    with open(errors, "a", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(variables)
    from lightning.pytorch.utilities import rank_zero_only

    from microturn.configs.main import main

    vars(rank_zero_only)["rank"] = int(variables["RANK"])  # else that of the import
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(words))


@dataclass(kw_only=True)
class Ranks:
    """The processes of one training. harmed: ranks that a fault keeps from ending."""

    words: Sequence[str]
    n: int
    errors: Path
    processes: list[ForkServerProcess] = field(default_factory=list)
    harmed: set[int] = field(default_factory=set)

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["microturn.training.train"])  # torch once, not N times
        self.errors.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(self.n):
            variables = {
                "WORLD_SIZE": f"{self.n}",
                "LOCAL_WORLD_SIZE": f"{self.n}",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": f"{port}",
                "TORCHELASTIC_RUN_ID": "faults",
                "GROUP_RANK": "0",
                "RANK": f"{rank}",
                "LOCAL_RANK": f"{rank}",
            }
            words = ["train", *self.words, f"devices={self.n}"]
            where = str(self.errors / f"rank{rank}")
            process = context.Process(target=_be_rank, args=(words, where, variables))
            process.start()
            self.processes.append(process)

    def pid(self, rank: int) -> int:
        pid = self.processes[rank].pid
        assert pid is not None
        return pid

    def send(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to a rank, if it still runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid(rank), number)

    def wait(self, limit_s: float) -> float | None:
        """Wait for all ranks that can end; returns the seconds, None where they did not."""
        start_s = time.monotonic()
        able = [p for rank, p in enumerate(self.processes) if rank not in self.harmed]
        for process in able:
            process.join(max(0.0, start_s + limit_s - time.monotonic()))
        seconds = time.monotonic() - start_s
        ended = all(process.exitcode is not None for process in able)
        self.kill()
        return seconds if ended else None

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    @property
    def exit_codes(self) -> list[int]:
        """Of the ranks that were not harmed; minus the signal that killed one."""
        return [int(p.exitcode or 0) for r, p in enumerate(self.processes) if r not in self.harmed]

    def said(self) -> list[str]:
        """The sentences with which ranks ended, in the order of ranks."""
        sentences = []
        for path in sorted(self.errors.glob("rank*")):
            text = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
            lines = [line.partition(SAYS) for line in lines_of(text)]
            sentences += [sentence for _, found, sentence in lines if found]
        return sentences

    def said_in_run(self, start: str) -> list[str]:
        """Lines of the first rank's log that contain a word."""
        text = (self.errors / "rank0").read_text(encoding="utf-8", errors="replace")
        return [line for line in lines_of(text.replace("\r", "\n")) if start in line]
