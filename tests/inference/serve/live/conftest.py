"""A server with a model of rules, for the clients of OpenAI's interface."""

from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from microturn.inference.agent.agent import OVER, AgentEvent
from microturn.inference.agent.package import ContextPackage
from microturn.inference.agent.process import AgentProcess, start_agent
from microturn.inference.config import ServeConfig
from microturn.inference.serve.engine import LiveEngine
from support.ruled_batch import RuledBatch, ruled_checkpoint
from support.sleeping_server import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of a server for clients of OpenAI's interface."""
    config = ServeConfig(checkpoint="runs/ruled")
    batch = RuledBatch(ruled_checkpoint())
    agent = start_agent(config.agent)
    assert agent is not None
    _wait_until_it_works(agent)
    engine = LiveEngine(batch, config, agent=agent)
    with running(engine, config) as server:
        yield f"http://127.0.0.1:{server.port}/v1"


def _wait_until_it_works(agent: AgentProcess) -> None:
    """Let its process start: the clock of these conversations is faster than the wall's."""
    events: SimpleQueue[AgentEvent] = SimpleQueue()
    package = ContextPackage(delegation_id="first", micro_turn=0, micro_turn_ms=200, words=())
    agent.submit(package, events.put)
    while events.get(timeout=60).status not in OVER:
        pass
