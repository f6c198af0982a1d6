"""What an agent does about one delegation, for one conversation or several that go on from it."""

from __future__ import annotations

from itertools import count
from threading import Condition
from typing import Final

from microturn.inference.agent.agent import AgentEvent, BackgroundAgent, Job
from microturn.inference.agent.package import ContextPackage

_NUMBERS: Final = count()  # of the events of all works, as they arrive


class SharedWork:
    """The job of a delegation and all that its agent has said, which each holder reads by itself.

    A conversation that went back to an earlier moment reads it once more; a twin goes on reading.
    The job ends early when none of the conversations that hold it wants it any more.
    """

    def __init__(self) -> None:
        self._events: list[tuple[int, AgentEvent]] = []
        self._changed = Condition()
        self._holders: set[str] = set()
        self._job: Job | None = None

    def start(self, agent: BackgroundAgent, package: ContextPackage, *, holder: str) -> None:
        """Hand a conversation to the agent."""
        self._holders.add(holder)
        self._job = agent.submit(package, self._put)

    def hold(self, holder: str) -> None:
        """Let one more conversation have what comes of it."""
        self._holders.add(holder)

    def let_go(self, holder: str) -> None:
        """End the job unless another conversation waits for it."""
        self._holders.discard(holder)
        if not self._holders and self._job is not None:
            self._job.cancel()

    def events_after(self, n: int, *, timeout_s: float = 0.0) -> list[tuple[int, AgentEvent]]:
        """Return what the agent has said after its first `n` events; waits for one, if it may.

        The number of an event tells which of two works said something first.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) > n, timeout_s)
            return self._events[n:]

    def _put(self, event: AgentEvent) -> None:
        with self._changed:
            self._events.append((next(_NUMBERS), event))
            self._changed.notify_all()
