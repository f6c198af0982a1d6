"""The background agent in a process of its own, as conversations see it.

Whatever a back end does there, hang, crash, take memory or all of the time of an interpreter, the
engine's clock does not notice. A process that dies, or takes no more work, is replaced.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import IO, Any, Final

from microturn.inference.agent.agent import OVER, AgentEvent, Emit, Job, Status
from microturn.inference.agent.cards import card_from_json
from microturn.inference.agent.package import ContextPackage
from microturn.inference.config import AgentConfig

_MAX_LINE: Final = 1 << 20  # bytes of an event; a worker that writes more is no worker of ours
_CLOSE_S: Final = 3.0
_HANGS_AFTER: Final = 0.5  # of the time-out, without a word about a delegation
_COMMAND: Final = (sys.executable, "-m", "microturn.inference.agent.worker")
STOPPED: Final = "the background agent's process ended; the next delegation starts a new one"

_Line = dict[str, Any] | None  # None ends the writer


class _Job:
    """One delegation in the worker: numbers its events, and passes none on after its end."""

    def __init__(
        self, worker: _WorkerProcess, number: int, package: ContextPackage, emit: Emit
    ) -> None:
        self.is_accepted, self.started_s = False, time.monotonic()
        self._worker, self._number, self._emit = worker, number, emit
        self._id = package.delegation_id
        self._lock, self._seq, self._is_over = Lock(), 0, False

    def emit(self, status: Status, text: str, **more: Any) -> None:
        """Pass an event on, unless the work is over already."""
        with self._lock:
            if self._is_over:
                return
            self.is_accepted = True
            event = AgentEvent(
                delegation_id=self._id, seq=self._seq, status=status, text=text, **more
            )
            self._seq += 1
            self._is_over = status in OVER
            self._emit(event)
        if status in OVER:
            self._worker.forget(self._number)

    def cancel(self) -> None:
        was_accepted, age_s = self.is_accepted, time.monotonic() - self.started_s
        self.emit("cancelled", "cancelled")
        self._worker.cancel(
            self._number, hangs=not was_accepted and age_s > self._worker.patience_s
        )


class _WorkerProcess:
    """A running process, a thread that writes to it and one that reads from it."""

    def __init__(self, config: AgentConfig) -> None:
        self.patience_s = _HANGS_AFTER * config.timeout_s
        self.has_ended = False
        self._jobs: dict[int, _Job] = {}
        self._n_jobs, self._lock = 0, Lock()
        self._lines: SimpleQueue[_Line] = SimpleQueue()
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Modules that can be imported here can be imported there.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            start_new_session=True,  # Ctrl-C is the server's, and its children end with it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._lines.put(dataclasses.asdict(config))
        for run, pipe in ((self._write, self._process.stdin), (self._read, self._process.stdout)):
            Thread(target=run, args=(pipe,), name="background-agent", daemon=True).start()

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        with self._lock:
            self._n_jobs += 1
            number = self._n_jobs
            job = _Job(self, number, package, emit)
            self._jobs[number] = job
            has_ended = self.has_ended
        if has_ended:
            job.emit("failed", STOPPED)
        self._lines.put({"job": number, "package": package})
        return job

    def cancel(self, number: int, *, hangs: bool) -> None:
        if hangs:
            self._kill()
        self._lines.put({"job": number})

    def forget(self, number: int) -> None:
        with self._lock:
            self._jobs.pop(number, None)

    def close(self) -> None:
        """Let the process end by itself, or end it."""
        self._lines.put(None)
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    # --- on threads of its own -----------------------------------------------------------------
    def _write(self, pipe: IO[bytes]) -> None:
        with suppress(OSError), pipe:  # OSError: it has gone, which the reader notices, too
            while (line := self._lines.get()) is not None:
                package = line.get("package")
                if isinstance(package, ContextPackage):
                    line = {**line, "package": package.to_json()}
                pipe.write(json.dumps(line).encode() + b"\n")
                pipe.flush()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in iter(lambda: pipe.readline(_MAX_LINE), b""):
                try:
                    self._pass_on(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    sys.stderr.write(f"background agent: a line of no event ({error})\n")
                    self._kill()
        self._process.wait()
        with self._lock:
            self.has_ended = True
            left = list(self._jobs.values())
        for job in left:
            job.emit("failed", STOPPED)

    def _pass_on(self, event: dict[str, Any]) -> None:
        job = self._jobs.get(event["job"])
        if job is not None:
            cards = tuple(card_from_json(card) for card in event["cards"])
            job.emit(event["status"], event["text"], cards=cards, supersedes=event["supersedes"])


class AgentProcess:
    """A background agent that works in another process; `AgentConfig.backend` says on what."""

    def __init__(self, config: AgentConfig) -> None:
        self._config, self._lock = config, Lock()
        self._worker = _WorkerProcess(config)

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        with self._lock:
            if self._worker.has_ended:
                self._worker = _WorkerProcess(self._config)
            return self._worker.submit(package, emit)

    def close(self) -> None:
        self._worker.close()


def start_agent(config: AgentConfig) -> AgentProcess | None:
    """Start the background agent of a configuration, if it has one."""
    return AgentProcess(config) if config.enabled else None
