"""The server of the benches: the real one on a process of its own, over a chosen batch."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch

from microturn.inference.config import ServeConfig
from microturn.inference.load import shipped_model
from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, load_checkpoint, random_checkpoint

if TYPE_CHECKING:
    from microturn.inference.serve.engine import LiveEngine

_START_S: Final = 120.0
_STOP_S: Final = 20.0


class Servable(Protocol):
    """What a server can run on another process."""

    @property
    def serve(self) -> ServeConfig: ...

    def engine(self) -> LiveEngine: ...


class SleepingBatch(RowBatch):
    """Sleeps instead of computing and is silent: what remains is the server."""

    def __init__(
        self, checkpoint: LoadedCheckpoint, n_rows: int, *, sleep_s: float, passed_s: float
    ) -> None:
        super().__init__(checkpoint, n_rows)
        self._sleep_s, self._passed_s = sleep_s, passed_s
        self._silence = np.zeros(self.layout.samples_per_micro_turn, np.float32)

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        time.sleep(self._sleep_s)
        for row in inputs:
            self.micro_turns[row] += 1
        tokens: dict[str, list[int]] = {"heard": [], "say": []}
        return dict.fromkeys(inputs, MicroTurnOut(audio=self._silence, tokens=tokens))

    def pass_over(self, gaps: Mapping[int, Gap]) -> None:
        if gaps:
            time.sleep(self._passed_s)
        for row, gap in gaps.items():
            self.micro_turns[row] += gap.n


@dataclass(frozen=True, kw_only=True)
class ServedBatch:
    """A model without a background agent, or a batch that sleeps."""

    serve: ServeConfig
    sleep_ms: float  # of a micro-turn without a model; 0: the model
    passed_share: float  # of that, to read what was dropped
    checkpoint: str  # empty: tiny with random weights

    def engine(self) -> LiveEngine:
        from microturn.inference.serve.engine import LiveEngine

        n_rows = self.serve.max_sessions
        if self.checkpoint:
            loaded = load_checkpoint(self.checkpoint)
        else:
            loaded = random_checkpoint(0, config=shipped_model("model/tiny.yaml"))
        if self.sleep_ms:
            sleep_s = self.sleep_ms / 1000
            passed_s = self.passed_share * sleep_s
            sleeping = SleepingBatch(loaded, n_rows, sleep_s=sleep_s, passed_s=passed_s)
            return LiveEngine(sleeping, self.serve)
        batch = RowBatch(loaded, n_rows)
        silence = np.zeros(loaded.layout.samples_per_micro_turn, np.float32)
        batch.step_rows({row: MicroTurnIn(audio=silence) for row in range(n_rows)})  # allocates
        for row in range(n_rows):
            batch.reset(row)
        return LiveEngine(batch, self.serve)


@dataclass(frozen=True)
class RunningServer:
    """Addresses of a server that answers."""

    address: str

    @property
    def socket_url(self) -> str:
        return f"ws://{self.address}/ws"

    @property
    def openai_url(self) -> str:
        """Base address for clients of OpenAI's interface."""
        return f"http://{self.address}/v1"

    def metrics(self) -> dict[str, Any]:
        return self._read("metrics.json")

    def health(self) -> dict[str, Any]:
        return self._read("health")

    def _read(self, name: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.address}/{name}", timeout=30) as response:
            values: dict[str, Any] = json.load(response)
        return values


@contextmanager
def running(served: Servable) -> Iterator[RunningServer]:
    """Run a server on a process of its own; raises OSError when it does not come up."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(served, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_S):
            raise OSError(f"the server did not come up within {_START_S:g} s")
        yield RunningServer(ours.recv())
    except EOFError as error:
        raise OSError("the server ended before it came up; its error stands above") from error
    finally:
        process.terminate()
        process.join(_STOP_S)


def _run(served: Servable, pipe: Pipe) -> None:
    from microturn.inference.serve.server import listen, make_server

    torch.set_num_threads(served.serve.threads or os.cpu_count() or 1)
    server = make_server(served.engine(), served.serve)
    with listen("127.0.0.1", 0) as listener:
        pipe.send("{}:{}".format(*listener.getsockname()[:2]))
        server.run(sockets=[listener])
