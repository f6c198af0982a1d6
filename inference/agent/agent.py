"""The background agent: works offline on requests that a conversation delegates.

A conversation hands over a context package and goes on; the agent answers with numbered events,
`accepted -> progress* -> final | failed | cancelled`, from another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Literal, Protocol

from microturn.inference.agent.tools import (
    Calculator,
    Clock,
    Precision,
    Tool,
    ToolError,
    latest_request,
)
from microturn.inference.transcript import TranscriptWord

Status = Literal["accepted", "progress", "final", "failed", "cancelled"]
OVER: frozenset[str] = frozenset({"final", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class ContextPackage:
    """Everything a background agent may need to know about its conversation."""

    delegation_id: str
    micro_turn: int  # when the model delegated
    micro_turn_ms: int
    words: tuple[TranscriptWord, ...]  # both sides, the whole conversation
    pending: tuple[str, ...]  # other delegations that are still being worked on

    def to_json(self) -> dict[str, object]:
        """Write the package with times in seconds, for agents in other processes."""
        micro_turn_s = self.micro_turn_ms / 1000
        return {
            "delegation_id": self.delegation_id,
            "time_s": round(self.micro_turn * micro_turn_s, 6),
            "words": [
                {"side": w.side, "text": w.text, "time_s": round(w.micro_turn * micro_turn_s, 6)}
                for w in self.words
            ],
            "pending": list(self.pending),
        }


@dataclass(frozen=True, kw_only=True)
class AgentEvent:
    """One step of the work on a delegation; `seq` counts from 0 within it."""

    delegation_id: str
    seq: int
    status: Status
    text: str = ""


Emit = Callable[[AgentEvent], None]


class Job(Protocol):
    """Background work on one delegation."""

    def cancel(self) -> None:
        """End the work; a `cancelled` event follows unless it was over already."""


class BackgroundAgent(Protocol):
    """The interface between a conversation and an agent; no call waits for the work."""

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        """Start work; events arrive through `emit`, from any thread."""

    def close(self) -> None:
        """Stop all work."""


class _OfflineJob:
    """Numbers the events of one delegation and ends them, from any thread."""

    def __init__(self, package: ContextPackage, emit: Emit) -> None:
        self._id, self._emit = package.delegation_id, emit
        self._lock, self._seq, self._over = Lock(), 0, False

    def emit(self, status: Status, text: str = "") -> None:
        """Pass an event to the conversation, unless the work is over already."""
        with self._lock:
            if self._over:
                return
            event = AgentEvent(delegation_id=self._id, seq=self._seq, status=status, text=text)
            self._seq += 1
            self._over = status in OVER
            self._emit(event)

    def cancel(self) -> None:
        self.emit("cancelled", "cancelled")


class OfflineAgent:
    """Answers the user's last request with a calculator and a clock, on worker threads."""

    def __init__(
        self,
        *,
        clock: Precision = "hour",
        now: Callable[[], datetime] = datetime.now,
        n_workers: int = 2,
    ) -> None:
        self._tools: tuple[Tool, ...] = (Calculator(), Clock(now, clock))
        self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="background-agent")

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        job = _OfflineJob(package, emit)
        job.emit("accepted")
        self._pool.submit(self._work, package, job)
        return job

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, package: ContextPackage, job: _OfflineJob) -> None:
        words = [word.text for word in package.words if word.side == "user"]
        try:
            request = latest_request(self._tools, words)
            job.emit("progress", f"{request.tool}: {request.text}")
            job.emit("final", request.answer())
        except ToolError as error:
            job.emit("failed", str(error))
        except Exception as error:  # a broken tool must not leave the conversation waiting
            job.emit("failed", f"the tool failed: {error}")
            raise
