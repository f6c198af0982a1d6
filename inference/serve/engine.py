"""The live engine: one thread that runs the model for all conversations, micro-turn by micro-turn.

Nothing here runs on the event loop of the server and nothing of the server runs here. Whatever is
ready when a micro-turn begins goes into it together, and what becomes ready meanwhile into the
next, so as long as a micro-turn of all conversations takes less than it lasts nobody falls
behind. That this stays so is what `Admission` sees to. A session's waiting audio is bounded: when
the model falls behind, the oldest is dropped, counted and reported (`pace.py`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any, Final

import numpy as np

from microturn.inference.agent.agent import BackgroundAgent
from microturn.inference.config import AgentConfig, NotesConfig
from microturn.inference.conversation import Conversation, ConversationEvent
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.admission import Admission
from microturn.inference.serve.input_queue import InputQueue
from microturn.inference.serve.metrics import Metrics
from microturn.inference.sessions import Session, Sessions
from microturn.model.streams import StreamLayout, Tokenizer
from microturn.model.streams.pcm import Audio

log = logging.getLogger(__name__)
_KEPT_TIMES: Final = 1_000
_JOIN_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One micro-turn is done: what to play next, and what became known."""

    micro_turn: int
    audio: Audio
    events: list[ConversationEvent]
    lag_ms: float  # from the last sample of the input to this output
    waiting: int  # micro-turns of input that still wait
    dropped: int  # micro-turns of input dropped so far
    late: int = 0  # micro-turns so far that went on without their input


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One sentence for the client; `fatal` ends the session."""

    message: str
    fatal: bool


Deliver = Callable[[Turn | Problem], None]
_Action = Callable[[Conversation], None]


class EngineFull(RuntimeError):
    """Every place is taken, or one more conversation would not fit into real time."""


@dataclass(kw_only=True)
class _Slot:
    """A conversation and what the engine keeps for it."""

    name: str
    conversation: Conversation
    deliver: Deliver
    intake: InputQueue
    actions: deque[_Action] = field(default_factory=deque)
    session: Session | None = None  # from its first micro-turn on
    missed: int = 0  # micro-turns answered later than the next one was due
    lag_ms: float = 0.0  # of the last one
    closed: bool = False


class LiveSession:
    """The caller's end of a conversation; all methods return at once and from any thread."""

    def __init__(self, engine: LiveEngine, slot: _Slot, name: str) -> None:
        self._engine, self._slot, self.name = engine, slot, name

    def push(self, audio: Audio) -> None:
        """Give the next micro-turn of the microphone."""
        self._engine._push(self._slot, audio)

    def type_text(self, text: str) -> None:
        self._engine._act(self._slot, lambda conversation: conversation.type_text(text))

    def cancel(self, delegation_id: str) -> None:
        self._engine._act(self._slot, lambda conversation: conversation.cancel(delegation_id))

    def close(self) -> None:
        """Leave; the slot is free for somebody else."""
        self._engine._leave(self._slot)


class LiveEngine:
    """Runs a batch for up to `n_slots` conversations at once on a thread of its own.

    Without `admission` every place may be taken. `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        batch: RowBatch,
        *,
        n_slots: int,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        agent: BackgroundAgent | None,
        agent_config: AgentConfig,
        max_waiting: int,
        late_after_ms: float = 0.0,
        admission: Admission | None = None,
        notes: NotesConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.layout = layout
        self.n_slots = n_slots
        self._sessions, self._tokenizer = Sessions(batch), tokenizer
        self._agent, self._agent_config = agent, agent_config
        self._notes, self._window = notes, batch.model.cfg.window
        self._max_waiting, self._late_after_ms = max_waiting, late_after_ms
        self._admission, self._clock = admission, clock
        self._slots: list[_Slot] = []
        self._wake = Condition()
        self._stopping = self._measure_again = False
        self._times_ms: deque[float] = deque(maxlen=_KEPT_TIMES)
        self._metrics = Metrics(layout.micro_turn_ms)
        self._silence = np.zeros(layout.samples_per_micro_turn, np.float32)
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    # --- from any thread -----------------------------------------------------------------------
    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the agent; conversations under way are over."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        if self._agent is not None:
            self._agent.close()

    def open(self, deliver: Deliver) -> LiveSession:
        """Start a conversation; `deliver` is called on the engine's thread and must not block.

        Raises EngineFull, with the measured number, when it would not fit into real time.
        """
        with self._wake:
            refusal = self._refusal()
            if refusal:
                self._metrics.count("sessions_refused")
                raise EngineFull(refusal)
            self._metrics.count("sessions_opened")
            name = f"s{self._metrics.counters['sessions_opened']}"
            conversation = Conversation(
                layout=self.layout,
                tokenizer=self._tokenizer,
                agent=self._agent,
                config=self._agent_config,
                name=f"{name}-",
                notes=self._notes,
                window=self._window,
            )
            intake = InputQueue(
                micro_turn_s=self.layout.micro_turn_s,
                most=self._max_waiting,
                late_after_s=self._late_after_ms / 1000,
            )
            slot = _Slot(name=name, conversation=conversation, deliver=deliver, intake=intake)
            self._slots.append(slot)
            return LiveSession(self, slot, name)

    def _refusal(self) -> str:
        if self._stopping:
            return "the server is stopping"
        if len(self._slots) >= self.n_slots:
            return f"all {self.n_slots} places are taken; try again later"
        if self._admission is None:
            return ""
        refusal = self._admission.refusal(len(self._slots) + 1, self._clock())
        if refusal and not self._slots:  # nobody is here: perhaps the measurement was unlucky
            self._measure_again = True
            self._wake.notify()
        return refusal

    def health(self) -> dict[str, float | int]:
        """Counters and times of the last micro-turns."""
        with self._wake:
            times = np.array(self._times_ms or [0.0])
            return {
                "sessions": len(self._slots),
                "max_sessions": self.n_slots,
                "p50_ms": round(float(np.percentile(times, 50)), 3),
                "p99_ms": round(float(np.percentile(times, 99)), 3),
                "late_micro_turns": self._metrics.counters["missed"],
                "dropped_micro_turns": self._metrics.counters["dropped"],
            }

    def metrics(self) -> dict[str, Any]:
        """Everything that is counted, and each conversation by itself."""
        with self._wake:
            return {
                **self._metrics.to_json(),
                **self._gauges(),
                "conversations": {slot.name: self._lateness(slot) for slot in self._slots},
            }

    def prometheus(self) -> str:
        """The same in the text format of Prometheus, without the single conversations."""
        with self._wake:
            return self._metrics.to_prometheus(self._gauges())

    def _gauges(self) -> dict[str, float]:
        leads = [self._lateness(slot)["lead_ms"] for slot in self._slots if slot.intake.taken]
        gauges = {
            "sessions": len(self._slots),
            "places": self.n_slots,
            "waiting": sum(len(slot.intake) for slot in self._slots),
            "lead_seconds": min(leads, default=self.layout.micro_turn_ms) / 1000,
        }
        if self._admission is not None:
            gauges["admission_limit_seconds"] = self._admission.limit_ms / 1000
            expected = self._admission.expected_ms(len(self._slots) + 1, self._clock())
            if expected is not None:
                gauges["admission_expected_seconds"] = expected / 1000
        return gauges

    def _lateness(self, slot: _Slot) -> dict[str, float]:
        return {
            "micro_turns": slot.intake.taken,
            "waiting": len(slot.intake),
            "late": slot.intake.late,
            "dropped": slot.intake.dropped,
            "missed": slot.missed,
            "lag_ms": round(slot.lag_ms, 3),
            "lead_ms": round(self.layout.micro_turn_ms - slot.lag_ms, 3),
        }

    def _push(self, slot: _Slot, audio: Audio) -> None:
        with self._wake:
            self._metrics.count("dropped", slot.intake.push(audio, self._clock()))
            self._wake.notify()

    def _act(self, slot: _Slot, action: _Action) -> None:
        with self._wake:
            slot.actions.append(action)
            self._wake.notify()

    def _leave(self, slot: _Slot) -> None:
        with self._wake:
            slot.closed = True
            self._wake.notify()

    # --- on the engine's thread ----------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work, self._until_late())
                if self._stopping:
                    return
            self.turn()

    def _has_work(self) -> bool:
        now = self._clock()
        return (
            self._stopping
            or self._measure_again
            or any(slot.actions or slot.closed or slot.intake.ready(now) for slot in self._slots)
        )

    def _until_late(self) -> float | None:
        """Seconds until somebody's input is late, if nothing happens before."""
        with self._wake:
            times = [slot.intake.late_at() for slot in self._slots]
            known = [time for time in times if time is not None]
            return max(0.0, min(known) - self._clock()) if known else None

    def turn(self) -> int:
        """One micro-turn of every conversation that is ready for it; returns how many were.

        This is what the thread does again and again; without `start` a caller may do it, on a
        clock of its own.
        """
        with self._wake:
            slots = list(self._slots)
        for slot in slots:
            self._settle(slot)
        if self._measure_again:
            self._measure_again = False
            if self._admission is not None and not slots:
                self._admission.calibrate_again(self._clock())
        now = self._clock()
        with self._wake:
            ready = [slot for slot in slots if not slot.closed and slot.intake.ready(now)]
        self._step(ready)
        return len(ready)

    def _settle(self, slot: _Slot) -> None:
        """Do what was asked of a conversation between two micro-turns."""
        while slot.actions:
            try:
                slot.actions.popleft()(slot.conversation)
            except ValueError as error:
                slot.deliver(Problem(message=str(error), fatal=False))
        if slot.closed:
            slot.conversation.finish()
            if slot.session is not None:
                self._sessions.close(slot.session)
            with self._wake:
                self._slots.remove(slot)

    def _step(self, slots: list[_Slot]) -> None:
        """Run one micro-turn of every conversation that has one."""
        if not slots:
            return
        started = self._clock()
        try:
            arrived = self._run_model(slots)
        except Exception as error:  # the server outlives a failed micro-turn; its sessions do not
            log.exception("a micro-turn failed")
            for slot in slots:
                slot.closed = True
                slot.deliver(Problem(message=f"the model failed: {error}", fatal=True))
            return
        now = self._clock()
        ms = (now - started) * 1000
        with self._wake:
            self._times_ms.append(ms)
            self._metrics.ticks.add(ms)
            if self._admission is not None:
                rows = self._sessions.n_rows_computed(
                    s.session for s in slots if s.session is not None
                )
                self._admission.note(rows, ms, now)
        for slot, (output, at) in zip(slots, arrived, strict=True):
            self._hand_out(slot, output, at)

    def _run_model(self, slots: list[_Slot]) -> list[tuple[MicroTurnOut, float]]:
        """What was made for each of these, and when its input was complete."""
        turns: dict[Session, MicroTurnIn] = {}
        arrived: list[tuple[Session, float]] = []
        for slot in slots:
            if slot.session is None:
                slot.session = self._sessions.open()
            with self._wake:
                late = slot.intake.late
                given = slot.intake.take(self._clock())
                self._metrics.count("late", slot.intake.late - late)
            text = slot.conversation.text_in() or []
            self._metrics.count("tokens_given", len(text))
            audio = self._silence if given.audio is None else given.audio
            turns[slot.session] = MicroTurnIn(
                audio=audio, text_in=text, missing_input=given.audio is None
            )
            arrived.append((slot.session, given.arrived))
        outputs = self._sessions.step_sessions(turns)
        return [(outputs[session], at) for session, at in arrived]

    def _hand_out(self, slot: _Slot, output: MicroTurnOut, arrived: float) -> None:
        micro_turn = slot.conversation.micro_turn
        events = slot.conversation.take(output.heard, output.say)
        lag_ms = (self._clock() - arrived) * 1000
        with self._wake:
            slot.lag_ms = lag_ms
            missed = lag_ms > self.layout.micro_turn_ms
            slot.missed += missed
            for name, n in (
                ("missed", int(missed)),
                ("micro_turns", 1),
                ("tokens_heard", len(output.heard)),
                ("tokens_said", len(output.say)),
            ):
                self._metrics.count(name, n)
            self._metrics.lag.add(lag_ms)
            done = Turn(
                micro_turn=micro_turn,
                audio=output.audio,
                events=events,
                lag_ms=lag_ms,
                waiting=len(slot.intake),
                dropped=slot.intake.dropped,
                late=slot.intake.late,
            )
        slot.deliver(done)
