"""A server with a model of rules that hears whoever interrupts it."""

from collections.abc import Iterator

import pytest

from microturn.evaluation.bench.clients.ruled import HearingBatch, ruled_checkpoint
from microturn.inference.agent.process import start_agent
from microturn.inference.config import ServeConfig
from microturn.inference.serve.engine import LiveEngine
from support.sleeping_server import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of a server for clients of OpenAI's interface; audio may come at once."""
    config = ServeConfig(checkpoint="runs/ruled", max_waiting_micro_turns=1_000, max_behind_ms=0.0)
    engine = LiveEngine(HearingBatch(ruled_checkpoint()), config, agent=start_agent(config.agent))
    with running(engine, config) as server:
        yield f"http://127.0.0.1:{server.port}/v1"
