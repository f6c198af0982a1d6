"""The server of `bench serve`: the real one on a process of its own, over a chosen batch."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import numpy as np
import torch

from microturn.inference.config import ServeConfig
from microturn.inference.load import shipped_model
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, load_checkpoint, random_checkpoint

_START_S: Final = 120.0
_STOP_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class ServedBatch:
    """What the server runs."""

    serve: ServeConfig
    sleep_ms: float  # of a micro-turn without a model; 0: the model
    passed_share: float  # of that, to read what was dropped
    checkpoint: str  # empty: tiny with random weights


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

    def pass_over(self, row: int, newest: Sequence[MicroTurnIn], *, n: int) -> None:
        time.sleep(self._passed_s)
        self.micro_turns[row] += n


@dataclass(frozen=True)
class RunningServer:
    """Addresses of a server that answers."""

    address: str

    @property
    def socket_url(self) -> str:
        return f"ws://{self.address}/ws"

    def metrics(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.address}/metrics.json", timeout=30) as response:
            values: dict[str, Any] = json.load(response)
        return values


@contextmanager
def running(served: ServedBatch) -> Iterator[RunningServer]:
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


def _run(served: ServedBatch, pipe: Pipe) -> None:
    import uvicorn

    from microturn.inference.serve.connection import MAX_MESSAGE_BYTES
    from microturn.inference.serve.engine import LiveEngine
    from microturn.inference.serve.server import create_app, listen

    torch.set_num_threads(served.serve.threads or os.cpu_count() or 1)
    n_rows = served.serve.max_sessions
    if served.checkpoint:
        loaded = load_checkpoint(served.checkpoint)
    else:
        loaded = random_checkpoint(0, config=shipped_model("model/tiny.yaml"))
    batch = RowBatch(loaded, n_rows)
    if served.sleep_ms:
        sleep_s = served.sleep_ms / 1000
        passed_s = served.passed_share * sleep_s
        batch = SleepingBatch(loaded, n_rows, sleep_s=sleep_s, passed_s=passed_s)
    else:
        silence = np.zeros(loaded.layout.samples_per_micro_turn, np.float32)
        batch.step_rows({row: MicroTurnIn(audio=silence) for row in range(n_rows)})  # allocates
        for row in range(n_rows):
            batch.reset(row)
    app = create_app(LiveEngine(batch, served.serve), served.serve)
    with listen("127.0.0.1", 0) as listener:
        pipe.send("{}:{}".format(*listener.getsockname()[:2]))
        uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=3,
            )
        ).run(sockets=[listener])
