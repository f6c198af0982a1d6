"""What the server of `bench clients` runs: the rules, or a trained model, with a ready agent."""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from microturn.evaluation.bench.clients.ruled import HearingBatch, ruled_checkpoint
from microturn.inference.agent.agent import OVER, AgentEvent
from microturn.inference.agent.package import ContextPackage
from microturn.inference.agent.process import AgentProcess, start_agent
from microturn.inference.config import AgentConfig, ServeConfig
from microturn.inference.load import load_rows
from microturn.inference.rows import RowBatch

if TYPE_CHECKING:
    from microturn.inference.serve.engine import LiveEngine

RULES: Final = "rules"  # in place of a folder's name
_AGENT_START_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class ServedTalker:
    """One place for a conversation."""

    serve: ServeConfig

    def engine(self) -> LiveEngine:
        from microturn.inference.serve.engine import LiveEngine

        if self.serve.checkpoint == RULES:
            batch: RowBatch = HearingBatch(ruled_checkpoint())
        else:
            batch = load_rows(
                self.serve.checkpoint,
                1,
                seed=self.serve.seed,
                threads=self.serve.threads,
                device=self.serve.device,
            )
        return LiveEngine(batch, self.serve, agent=ready_agent(self.serve.agent))


def ready_agent(config: AgentConfig) -> AgentProcess:
    """Start the background agent, and return it once its process has answered something."""
    agent = start_agent(config)
    assert agent is not None
    events: SimpleQueue[AgentEvent] = SimpleQueue()
    package = ContextPackage(delegation_id="first", micro_turn=0, micro_turn_ms=200, words=())
    agent.submit(package, events.put)
    while events.get(timeout=_AGENT_START_S).status not in OVER:
        pass
    return agent
