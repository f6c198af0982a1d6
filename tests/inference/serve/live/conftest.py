"""A server with a model of rules, for the clients of OpenAI's interface."""

from collections.abc import Iterator

import pytest

from microturn.evaluation.bench.clients.ruled import RuledBatch, ruled_checkpoint
from microturn.evaluation.bench.clients.served import ready_agent
from microturn.inference.config import ServeConfig
from microturn.inference.serve.engine import LiveEngine
from support.sleeping_server import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of a server for clients of OpenAI's interface."""
    config = ServeConfig(checkpoint="runs/ruled")
    # The clock of these conversations is faster than the wall's, by which a process starts.
    agent = ready_agent(config.agent)
    engine = LiveEngine(RuledBatch(ruled_checkpoint()), config, agent=agent)
    with running(engine, config) as server:
        yield f"http://127.0.0.1:{server.port}/v1"
