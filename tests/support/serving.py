"""`microturn serve` as a process of its own, started and stopped by a test."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

START_S = 150.0  # a busy machine imports torch for a long time


@dataclass(frozen=True)
class Served:
    """A running server."""

    process: "subprocess.Popen[str]"
    url: str
    said: "Queue[str]"
    reader: threading.Thread

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "ws"

    def health(self) -> dict[str, float]:
        with urllib.request.urlopen(self.url + "health", timeout=START_S) as response:
            values: dict[str, float] = json.load(response)
        return values


def start(checkpoint: Path, *words: str, environment: Mapping[str, str] = {}) -> Served:
    """Start a server that admits everybody, on any free port; `environment` is added to ours."""
    command = [sys.executable, "-m", "microturn.configs.main", "serve", "port=0"]
    command.append("admit_share=0")  # a busy machine is no reason to turn a test away
    return _started([*command, f"checkpoint={checkpoint}", *words], environment)


def start_sleeping(rows: int, *words: str) -> Served:
    """Start a server whose model sleeps (`sleeping_server.py`)."""
    script = str(Path(__file__).with_name("sleeping_server.py"))
    return _started([sys.executable, script, str(rows), *words], {})


def _started(command: list[str], environment: Mapping[str, str]) -> Served:
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MICROTURN_TOKEN": "", **environment},
    )
    said: Queue[str] = Queue()
    stderr = process.stderr
    assert stderr is not None
    reader = threading.Thread(target=lambda: [said.put(line) for line in stderr], daemon=True)
    reader.start()
    try:
        line = said.get(timeout=START_S)
    except Empty:
        process.kill()
        raise
    found = re.search(r"https?://\S+", line)
    assert found, line
    return Served(process, found[0], said, reader)


def stop(served: Served, number: int = signal.SIGINT) -> tuple[int, str]:
    """End a server with a signal; returns its exit code and what it wrote to its log."""
    served.process.send_signal(number)
    code = served.process.wait(20)
    served.reader.join()
    lines = []
    while not served.said.empty():
        lines.append(served.said.get())
    assert served.process.stderr is not None
    served.process.stderr.close()
    return code, "".join(lines)
