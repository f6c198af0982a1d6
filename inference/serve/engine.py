"""The live engine: one thread that runs the model for all sessions, micro-turn by micro-turn.

The model never runs on the event loop of the server. Every session that is ready when a tick begins
takes part in it, and those that become ready meanwhile take part in the next, so no session falls
behind as long as a tick takes less than a micro-turn lasts. `Admission` sees to that. The waiting
audio of a session is bounded: when the model falls behind, the oldest gets no answer, and the
client is told which (`input_queue.py`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition, Lock, Thread
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.inference.agent.agent import BackgroundAgent
from microturn.inference.config import ServeConfig
from microturn.inference.conversation import Conversation
from microturn.inference.micro_turn import Gap, MicroTurnIn, MicroTurnOut
from microturn.inference.opening import LoadedOpening
from microturn.inference.rows import RowBatch
from microturn.inference.serve.admission import Admission
from microturn.inference.serve.codec import WrongMessage
from microturn.inference.serve.input_queue import BegunMicroTurn, InputQueue
from microturn.inference.serve.metrics import Metrics
from microturn.inference.serve.report import Deliver, MicroTurnReport, Problem, WentBack
from microturn.inference.serve.session.live_client import Action, LiveClient, gauges_of, new_client
from microturn.inference.serve.session.live_session import LiveSession
from microturn.inference.sessions import Session, Sessions
from microturn.model.streams.pcm import Audio

log = logging.getLogger(__name__)
_N_TICK_TIMES: Final = 1_000
_JOIN_S: Final = 5.0
_LATER: Final = "try again later"
_QUEUE_LOSSES: Final = ("missing_input", "dropped", "too_late_input")
MakeRoom = Callable[[], bool]
# With the micro-turn that it answers.
_Answer = tuple[LiveClient, MicroTurnOut, BegunMicroTurn]


class EngineFull(RuntimeError):
    """Every row is in use, or one more session would not fit into real time."""


class LiveEngine:
    """Runs up to `batch.n_rows` sessions at once on a thread of its own.

    Without `admission` every row may be used. Every session begins with `opening`, if given.
    `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        batch: RowBatch,
        config: ServeConfig,
        *,
        agent: BackgroundAgent | None = None,
        admission: Admission | None = None,
        opening: LoadedOpening | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.layout = batch.layout
        self._batch, self._config, self._agent = batch, config, agent
        self._admission, self._clock = admission, clock
        self._sessions, self._opening = Sessions(batch), opening or LoadedOpening()
        self._clients: list[LiveClient] = []
        self._wake, self._instructing = Condition(), Lock()
        self._stopping = False
        self._tick_times_ms: deque[float] = deque(maxlen=_N_TICK_TIMES)
        self._metrics = Metrics(self.layout.micro_turn_ms)
        self.thread = Thread(target=self._run, name="engine", daemon=True)

    @property
    def max_rewind(self) -> int:
        """Micro-turns that a session can go back."""
        return self._batch.max_rewind

    # --- from any thread -----------------------------------------------------------------------
    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """End the thread and the agent; live sessions are over."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self.thread.ident is not None:
            self.thread.join(_JOIN_S)
        if self._agent is not None:
            self._agent.close()

    def fork(self, source: LiveClient, deliver: Deliver) -> LiveSession:
        """Begin a session as the twin of another one; raises EngineFull as `join` does."""
        with self._wake:
            session = self.join(deliver)
            twin = self._clients[-1]
            twin.twin_of, twin.queue = source, source.queue.twin()
            self._wake.notify()
            return session

    def join(self, deliver: Deliver, *, make_room: MakeRoom = lambda: False) -> LiveSession:
        """Begin a session; `deliver` is called on the engine's thread and must not block.

        Where it would not fit `make_room` may end another one; it returns False when there is none
        to end. Raises EngineFull, with the measured number, when it would not fit into real time.
        """
        with self._wake:
            while refusal := self._refusal():
                if not make_room():
                    self._metrics.count("sessions_refused")
                    raise EngineFull(refusal)
            excess = self._excess(self._n_present + 1)
            self._metrics.count("sessions_opened")
            client = new_client(
                self._sessions,
                self._config,
                name=f"s{self._metrics.counters['sessions_opened']}",
                agent=self._agent,
                deliver=deliver,
            )
            self._clients.append(client)
            warning = f"answers may come late: {excess}" if excess else ""
            return LiveSession(self, client, warning=warning)

    @property
    def _n_present(self) -> int:
        return sum(not client.has_left for client in self._clients)

    def _refusal(self) -> str:
        """Tell why one more session is refused; empty if it is not."""
        n_others, max_sessions = self._n_present, self._sessions.max_sessions
        if self._stopping:
            return "the server is stopping"
        if n_others >= max_sessions:
            return f"all {max_sessions} sessions are in use; {_LATER}"
        excess = "" if n_others < self._config.admit_always else self._excess(n_others + 1)
        return f"{excess}; {_LATER}" if excess else ""

    def _excess(self, n: int) -> str:
        """Tell how n sessions would not fit into real time; empty if they would."""
        return self._admission.excess(n, self._clock()) if self._admission is not None else ""

    def health(self) -> dict[str, float | int]:
        """Return counters, and percentiles of the last ticks."""
        with self._wake:
            times = np.array(self._tick_times_ms or [0.0])
            losses = (*_QUEUE_LOSSES, "deadline_missed")
            return {
                "sessions": len(self._clients),
                "max_sessions": self._sessions.max_sessions,
                "p50_ms": round(float(np.percentile(times, 50)), 3),
                "p99_ms": round(float(np.percentile(times, 99)), 3),
                **{name: self._metrics.counters[name] for name in losses},
            }

    def metrics(self) -> dict[str, Any]:
        """Return all counters and gauges, and those of each session."""
        with self._wake:
            by_session = {c.name: c.numbers(self.layout.micro_turn_ms) for c in self._clients}
            return {**self._metrics.to_json(), **self._gauges(), "by_session": by_session}

    def prometheus(self) -> str:
        """Return counters and gauges in the text format of Prometheus."""
        with self._wake:
            return self._metrics.to_prometheus(self._gauges())

    def _gauges(self) -> dict[str, float]:
        gauges = gauges_of(self._clients, self.layout.micro_turn_ms)
        gauges["max_sessions"] = self._sessions.max_sessions
        if self._admission is not None:
            gauges["admission_limit_seconds"] = self._admission.limit_ms / 1000
            expected_ms = self._admission.expected_ms(len(self._clients) + 1, self._clock())
            if expected_ms is not None:
                gauges["admission_expected_seconds"] = expected_ms / 1000
        return gauges

    def push_audio(self, client: LiveClient, audio: Audio) -> None:
        with self._wake:
            with self._counting_losses(client.queue):
                client.queue.push_audio(audio, self._clock())
            self._wake.notify()

    @contextmanager
    def _counting_losses(self, queue: InputQueue) -> Iterator[None]:
        before = [getattr(queue, name) for name in _QUEUE_LOSSES]
        yield
        for name, n in zip(_QUEUE_LOSSES, before, strict=True):
            self._metrics.count(name, getattr(queue, name) - n)

    def show(self, client: LiveClient, lane: str, frame: NDArray[np.uint8]) -> None:
        self.layout.check_ready(lane, frame[None], 1)
        with self._wake:
            client.frames = {**client.frames, lane: frame.copy()}

    def act(self, client: LiveClient, action: Action) -> None:
        with self._wake:
            client.ask(action)
            self._wake.notify()

    def go_back(self, client: LiveClient, n: int) -> Future[None]:
        done: Future[None] = Future()

        def go_back(_: Conversation) -> None:
            try:
                with self._wake:
                    to = client.go_back(n, self._sessions)
            except ValueError as error:
                done.set_exception(WrongMessage(str(error), code="cannot_rewind"))
                return
            client.deliver(WentBack(micro_turn=to))
            done.set_result(None)

        self.act(client, go_back)
        return done

    def instruct(self, client: LiveClient, text: str) -> None:
        with self._instructing:  # one at a time: reading them takes as long as some micro-turns
            if client.opened is not None:
                raise ValueError("instructions were given already; send them once")
            opened = None if client.has_left else self._opening.instructed(self._batch, text)
        with self._wake:
            if len(client.queue) or client.queue.index:
                raise ValueError("instructions come too late: the conversation has begun")
            client.opened = opened
            client.conversation.record.instructions = text

    def leave(self, client: LiveClient) -> None:
        with self._wake:
            client.has_left = True
            self._wake.notify()

    # --- on the engine's thread ----------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work, self._seconds_until_missing())
                if self._stopping:
                    return
            self.step()

    def _has_work(self) -> bool:
        now = self._clock()
        return self._stopping or any(
            c.actions or c.has_left or c.twin_of or c.queue.is_ready(now) for c in self._clients
        )

    def _seconds_until_missing(self) -> float | None:
        """Return the time until the next input counts as missing, if none arrives before."""
        with self._wake:
            times = [client.queue.missing_at() for client in self._clients]
            known = [time for time in times if time is not None]
            return max(0.0, min(known) - self._clock()) if known else None

    def step(self) -> int:
        """Run one tick, a micro-turn of every session that is ready; returns their number.

        The thread calls this in a loop; without `start` a caller may do it, on its own clock.
        """
        with self._wake:
            clients = list(self._clients)
        for client in clients:
            self._settle(client)
        now = self._clock()
        with self._wake:
            ready = [c for c in clients if not c.has_left and c.queue.is_ready(now)]
        if ready:
            self._tick(ready)
        return len(ready)

    def _settle(self, client: LiveClient) -> None:
        """Carry out one request of a client between two micro-turns."""
        if client.twin_of is not None:
            with self._wake:
                client.become_twin(self._sessions)
        client.carry_out()
        if client.has_left:
            with client.alone():
                client.conversation.finish()
            if client.session is not None:
                self._sessions.close(client.session)
            with self._wake:
                self._clients.remove(client)

    def _tick(self, clients: list[LiveClient]) -> None:
        """Run one micro-turn of these clients and deliver the outputs."""
        started = self._clock()
        try:
            outputs = self._run_model(clients)
        except Exception as error:  # the server outlives a failed tick; its sessions do not
            log.exception("a micro-turn failed")
            for client in clients:
                client.has_left = True
                client.deliver(Problem(message=f"the model failed: {error}", fatal=True))
            return
        self._record_tick(clients, started)
        for client, output, begun in outputs:
            self._deliver(client, output, begun)

    def _record_tick(self, clients: list[LiveClient], started: float) -> None:
        now = self._clock()
        ms = (now - started) * 1000
        with self._wake:
            self._tick_times_ms.append(ms)
            self._metrics.ticks.observe(ms)
            if self._admission is not None:
                sessions = [client.session for client in clients if client.session is not None]
                self._admission.record(self._sessions.n_rows_computed(sessions), ms, now=now)

    def _run_model(self, clients: list[LiveClient]) -> list[_Answer]:
        """Return the output of each client that is there, and the micro-turn that it answers."""
        gaps: dict[Session, Gap] = {}
        inputs: dict[Session, MicroTurnIn] = {}
        turns: list[tuple[LiveClient, Session, BegunMicroTurn]] = []
        for client in clients:
            if client.session is None:
                client.session = self._sessions.open(client.opened or self._opening.row)
            with self._wake, self._counting_losses(client.queue):
                begun = client.queue.next_input(self._clock())
            if begun.n_passed:
                passed = [replace(turn, given=client.frames) for turn in begun.passed]
                gaps[client.session] = Gap(n=begun.n_passed, newest=passed)
            with client.alone():
                if begun.n_passed:
                    client.pass_over(begun.n_passed)
                ids = client.next_text()
            if client.has_left:
                continue
            self._metrics.count("tokens_given", len(ids))
            inputs[client.session] = replace(begun.input, text_in=ids, given=client.frames)
            turns.append((client, client.session, begun))
        self._sessions.pass_over(gaps)
        outputs = self._sessions.step_sessions(inputs)
        return [(client, outputs[session], begun) for client, session, begun in turns]

    def _deliver(self, client: LiveClient, output: MicroTurnOut, begun: BegunMicroTurn) -> None:
        with client.alone():
            events = client.conversation.read_output(output)
        if client.has_left:
            return
        lag_ms = (self._clock() - begun.arrived) * 1000
        with self._wake:
            client.lag_ms = lag_ms
            missed = int(lag_ms > self.layout.micro_turn_ms)
            client.deadline_missed += missed
            self._metrics.count("deadline_missed", missed)
            self._metrics.count("micro_turns")
            self._metrics.count("tokens_heard", len(output.heard))
            self._metrics.count("tokens_said", len(output.say))
            self._metrics.lag.observe(lag_ms)
            report = MicroTurnReport(
                micro_turn=begun.index,
                output=output,
                events=events,
                lag_ms=lag_ms,
                waiting=len(client.queue),
                is_missing=begun.input.missing_input,
                n_passed=begun.n_passed,
                missing_input=client.queue.missing_input,
                dropped=client.queue.dropped,
                too_late_input=client.queue.too_late_input,
                deadline_missed=client.deadline_missed,
            )
        client.deliver(report)
