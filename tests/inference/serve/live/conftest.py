"""A server with a model of rules, for the clients of OpenAI's interface."""

from collections.abc import Iterator

import pytest

from microturn.inference.agent.process import start_agent
from microturn.inference.config import ServeConfig
from microturn.inference.serve.engine import LiveEngine
from support.ruled_batch import RuledBatch, ruled_checkpoint
from support.sleeping_server import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of a server for clients of OpenAI's interface."""
    config = ServeConfig(checkpoint="runs/ruled")
    batch = RuledBatch(ruled_checkpoint())
    engine = LiveEngine(batch, config, agent=start_agent(config.agent))
    with running(engine, config) as server:
        yield f"http://127.0.0.1:{server.port}/v1"
