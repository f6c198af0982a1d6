"""A small shard set and a way to train on it, for all tests of training."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from microturn.configs.main import main


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight dialogues of 20 micro-turns in two tars."""
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=8", "workers=1"]
    assert main([*words, "n_micro_turns=20", "dialogues_per_shard=4"]) == 0
    return out


@pytest.fixture(scope="session")
def train() -> Callable[..., int]:
    """`microturn train` of a very small model, through the command line."""

    def run(data: Path | str, out: Path, *words: str) -> int:
        fixed = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu"]
        return main(["train", "training/smoke.yaml", *fixed, *words])

    return run


class Server:
    """Commands in processes of their own (command_server.py)."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("command_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, **question: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(
        self,
        words: list[str],
        errors: Path,
        *,
        file_limit: int = 0,
        env: dict[str, str] | None = None,
        shm: int = 0,
    ) -> int:
        """`microturn train WORDS`; returns the process id. Files may grow to `file_limit` bytes."""
        return self._ask(
            words=["train", *words],
            errors=str(errors),
            file_limit=file_limit,
            env=env or {},
            shm=shm,
        )

    def wait(self, pid: int) -> int:
        """Its exit status; minus the signal that killed it."""
        return self._ask(wait=pid)

    def start_ranks(
        self,
        words: list[str],
        errors: Path,
        n: int = 2,
        more: dict[int, list[str]] | None = None,
    ) -> list[int]:
        """Start all ranks of a run as a launcher such as torchrun does; returns their ids.

        more: further words of single ranks.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            "WORLD_SIZE": str(n),
            "LOCAL_WORLD_SIZE": str(n),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "test",
            "GROUP_RANK": "0",
        }
        return [
            self.start(
                [*words, f"devices={n}", *(more or {}).get(rank, [])],
                errors.with_name(f"{errors.name}{rank}"),
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(n)
        ]

    def wait_for_ranks(self, pids: list[int], errors: Path, code: int = 0) -> None:
        """Assert that all ranks end with the same exit status."""
        said = [errors.with_name(f"{errors.name}{rank}") for rank in range(len(pids))]
        codes = [self.wait(pid) for pid in pids]
        assert codes == [code] * len(pids), "\n".join(p.read_text() for p in said)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.communicate(timeout=60)
