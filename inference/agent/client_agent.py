"""The client as the background agent of its own conversation: it answers over the socket."""

from __future__ import annotations

from microturn.inference.agent.agent import AgentEvent, Emit, Status
from microturn.inference.agent.package import ContextPackage


class _ClientJob:
    """One delegation that the client was told of."""

    def __init__(self, delegation_id: str, emit: Emit) -> None:
        self._id, self._emit, self._n_events = delegation_id, emit, 0
        self.is_answered = False
        self.emit("accepted")

    def emit(self, status: Status, text: str = "") -> None:
        event = AgentEvent(delegation_id=self._id, seq=self._n_events, status=status, text=text)
        self._n_events += 1
        self._emit(event)

    def cancel(self) -> None:
        self.emit("cancelled", "cancelled")


class ClientAgent:
    """Hands the delegations of one conversation to its client, and the answers back.

    The engine's thread alone calls it.
    """

    def __init__(self) -> None:
        self.told: dict[str, _ClientJob] = {}  # by id of the delegation

    def submit(self, package: ContextPackage, emit: Emit) -> _ClientJob:
        job = self.told[package.delegation_id] = _ClientJob(package.delegation_id, emit)
        return job

    def twin(self) -> ClientAgent:
        """Make the agent of a copied conversation, whose client is another one."""
        agent = ClientAgent()
        agent.told = dict(self.told)
        return agent

    def close(self) -> None:
        """Do nothing: the work is the client's."""

    def answer(self, delegation_id: str, text: str) -> bool:
        """Pass the result of a delegation on; False when it has one already."""
        job = self.told[delegation_id]
        if job.is_answered:
            return False
        job.is_answered = True
        job.emit("final", text)
        return True

    def tell_progress(self, delegation_id: str, text: str) -> None:
        self.told[delegation_id].emit("progress", text)
