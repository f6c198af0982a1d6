"""`microturn serve` with a model that sleeps: what the server itself costs, and its memory.

`python tests/support/sleeping_server.py ROWS [KEY=VALUE...]`; it says its address as `serve` does.
With ROWS followed by the word `model` a very small model computes instead.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import uvicorn

from microturn.configs.load import load_config
from microturn.configs.signals import raising_interrupts
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.server import listen, make_server, run_server, url_of
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.vocoders.config import VocoderConfig

FIRST_ROW_S, FURTHER_ROW_S = 0.012, 0.001
VERY_SMALL = ModelConfig(
    d_model=16,
    n_layers=1,
    n_heads=1,
    d_ff=16,
    window=8,
    moe=MoEConfig(n_experts=0),
    flow=FlowConfig(width=16, depth=1, steps=1),
    vocoder=VocoderConfig(kind="istft", width=8, layers=1),
)


class SleepingBatch(RowBatch):
    """Takes 12 ms, and 1 ms for each further row, and says nothing."""

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        time.sleep(FIRST_ROW_S + FURTHER_ROW_S * (len(inputs) - 1))
        silence = np.zeros(self.layout.samples_per_micro_turn, np.float32)
        nothing: dict[str, list[int]] = {"heard": [], "say": []}
        return {row: MicroTurnOut(audio=silence, tokens=nothing) for row in inputs}

    def pass_over(self, gaps: Mapping[int, Gap]) -> None:
        time.sleep(FIRST_ROW_S if gaps else 0.0)


def very_small_checkpoint() -> LoadedCheckpoint:
    return random_checkpoint(5, config=VERY_SMALL)


@dataclass(frozen=True)
class Running:
    """A server on a thread of this process, so that a test sees its memory and its sockets."""

    port: int
    engine: LiveEngine
    server: uvicorn.Server

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def n_sessions(self) -> int:
        return int(self.engine.health()["sessions"])

    @property
    def n_sockets(self) -> int:
        return len(self.server.server_state.connections)


@contextmanager
def running(engine: LiveEngine, config: ServeConfig) -> Iterator[Running]:
    """Run the whole server on real sockets; it is stopped as a signal would stop it."""
    server = make_server(engine, config)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(port, engine, server)
        finally:
            server.should_exit = True
            thread.join(30.0)
            assert not thread.is_alive()


def main(rows: int, words: list[str]) -> None:
    torch.set_num_threads(1)
    kind = RowBatch if "model" in words else SleepingBatch
    settings = ["port=0", *(word for word in words if word != "model")]
    config = load_config(ServeConfig, overrides=settings)
    engine = LiveEngine(kind(very_small_checkpoint(), rows), config)
    listener = listen(config.host, config.port)
    print(f"serving on {url_of(listener, config.host)}", file=sys.stderr, flush=True)
    with raising_interrupts(), listener:
        run_server(make_server(engine, config), listener)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(130)
