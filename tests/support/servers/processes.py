"""Servers in processes of their own, on ports of the loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVERS = Path(__file__).resolve().parent
_START_S = 60.0


def command_of(name: str, *words: str) -> str:
    """The command line of a server, as `agent.mcp` takes it."""
    return f"{sys.executable} {SERVERS / name} {' '.join(words)}".strip()


@contextmanager
def running(name: str, *words: str, stdout: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run a server until the block ends."""
    command = [sys.executable, str(SERVERS / name), *words]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def language_model() -> Iterator[str]:
    """Run an endpoint of language models; gives its address."""
    with running("language_model.py", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


@contextmanager
def mcp_over_http() -> Iterator[str]:
    """Run an MCP server on a free port; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running("tools.py", str(port), stdout=subprocess.DEVNULL):
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
