"""The live engine: one thread that runs the model for all conversations, micro-turn by micro-turn.

Nothing here runs on the event loop of the server and nothing of the server runs here. A session's
waiting audio is bounded: when the model falls behind, the oldest is dropped, counted and
reported, so that a conversation is late once and not later and later.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Final, Protocol

import numpy as np

from microturn.inference.agent import BackgroundAgent
from microturn.inference.audio import Audio
from microturn.inference.config import AgentConfig
from microturn.inference.conversation import Conversation, ConversationEvent
from microturn.inference.session import TurnOutput
from microturn.model.streams import StreamLayout, Tokenizer

log = logging.getLogger(__name__)
_KEPT_TIMES: Final = 1_000
_JOIN_S: Final = 5.0


class Batch(Protocol):
    """What the engine needs of `SessionBatch`: rows that take a micro-turn or sit it out."""

    def append(
        self,
        audio: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
        text_in: list[list[int] | None],
        active: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None,
    ) -> list[TurnOutput]: ...

    def reset(self, slot: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One micro-turn is done: what to play next, and what became known."""

    micro_turn: int
    audio: Audio
    events: list[ConversationEvent]
    lag_ms: float  # from the last sample of the input to this output
    waiting: int  # micro-turns of input that still wait
    dropped: int  # micro-turns of input dropped so far


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One sentence for the client; `fatal` ends the session."""

    message: str
    fatal: bool


Deliver = Callable[[Turn | Problem], None]
_Action = Callable[[Conversation], None]


class EngineFull(RuntimeError):
    """Every slot is taken."""


@dataclass(kw_only=True)
class _Slot:
    """A conversation that occupies a row of the batch."""

    index: int
    conversation: Conversation
    deliver: Deliver
    inputs: deque[tuple[Audio, float]] = field(default_factory=deque)
    actions: deque[_Action] = field(default_factory=deque)
    dropped: int = 0
    fresh: bool = True  # the row still holds the state of an earlier conversation
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
    """Runs a batch for up to `n_slots` conversations at once on a thread of its own."""

    def __init__(
        self,
        batch: Batch,
        *,
        n_slots: int,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        agent: BackgroundAgent | None,
        agent_config: AgentConfig,
        max_waiting: int,
    ) -> None:
        self.layout = layout
        self.n_slots = n_slots
        self._batch, self._tokenizer = batch, tokenizer
        self._agent, self._agent_config = agent, agent_config
        self._max_waiting = max_waiting
        self._slots: list[_Slot | None] = [None] * n_slots
        self._wake = Condition()
        self._stopping = False
        self._opened = 0
        self._times_ms: deque[float] = deque(maxlen=_KEPT_TIMES)
        self._late = self._dropped = 0
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
        """Start a conversation; `deliver` is called on the engine's thread and must not block."""
        with self._wake:
            free = [index for index, slot in enumerate(self._slots) if slot is None]
            if not free or self._stopping:
                raise EngineFull(
                    f"all {self.n_slots} places are taken; try again later"
                    if not self._stopping
                    else "the server is stopping"
                )
            self._opened += 1
            name = f"s{self._opened}"
            conversation = Conversation(
                layout=self.layout,
                tokenizer=self._tokenizer,
                agent=self._agent,
                config=self._agent_config,
                name=f"{name}-",
            )
            slot = _Slot(index=free[0], conversation=conversation, deliver=deliver)
            self._slots[slot.index] = slot
            return LiveSession(self, slot, name)

    def health(self) -> dict[str, float | int]:
        """Counters and times of the last micro-turns."""
        with self._wake:
            times = np.array(self._times_ms or [0.0])
            return {
                "sessions": sum(slot is not None for slot in self._slots),
                "max_sessions": self.n_slots,
                "p50_ms": round(float(np.percentile(times, 50)), 3),
                "p99_ms": round(float(np.percentile(times, 99)), 3),
                "late_micro_turns": self._late,
                "dropped_micro_turns": self._dropped,
            }

    def _push(self, slot: _Slot, audio: Audio) -> None:
        with self._wake:
            slot.inputs.append((audio, time.monotonic()))
            if len(slot.inputs) > self._max_waiting:
                slot.inputs.popleft()
                slot.dropped += 1
                self._dropped += 1
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
                self._wake.wait_for(self._has_work)
                if self._stopping:
                    return
                slots = [slot for slot in self._slots if slot is not None]
            for slot in slots:
                self._settle(slot)
            self._step([slot for slot in slots if slot.inputs and not slot.closed])

    def _has_work(self) -> bool:
        return self._stopping or any(
            slot is not None and (slot.inputs or slot.actions or slot.closed)
            for slot in self._slots
        )

    def _settle(self, slot: _Slot) -> None:
        """Do what was asked of a conversation between two micro-turns."""
        while slot.actions:
            try:
                slot.actions.popleft()(slot.conversation)
            except ValueError as error:
                slot.deliver(Problem(message=str(error), fatal=False))
        if slot.closed:
            slot.conversation.finish()
            with self._wake:
                self._slots[slot.index] = None

    def _step(self, slots: list[_Slot]) -> None:
        """Run one micro-turn of every conversation that has one."""
        if not slots:
            return
        audio = np.zeros((self.n_slots, self.layout.samples_per_micro_turn), np.float32)
        text_in: list[list[int] | None] = [None] * self.n_slots
        active = np.zeros(self.n_slots, np.bool_)
        arrived: dict[int, float] = {}
        started = time.monotonic()
        try:
            for slot in slots:
                with self._wake:
                    audio[slot.index], arrived[slot.index] = slot.inputs.popleft()
                active[slot.index] = True
                text_in[slot.index] = slot.conversation.text_in()
                if slot.fresh:
                    self._batch.reset(slot.index)
                    slot.fresh = False
            outputs = self._batch.append(audio, text_in, active)
            for slot in slots:
                self._hand_out(slot, outputs[slot.index], arrived[slot.index])
        except Exception as error:  # the server outlives a failed micro-turn; its sessions do not
            log.exception("a micro-turn failed")
            for slot in slots:
                slot.closed = True
                slot.deliver(Problem(message=f"the model failed: {error}", fatal=True))
        with self._wake:
            self._times_ms.append((time.monotonic() - started) * 1000)

    def _hand_out(self, slot: _Slot, output: TurnOutput, arrived: float) -> None:
        micro_turn = slot.conversation.micro_turn
        events = slot.conversation.take(output.heard, output.say)
        lag_ms = (time.monotonic() - arrived) * 1000
        with self._wake:
            waiting, dropped = len(slot.inputs), slot.dropped
            self._late += lag_ms > self.layout.micro_turn_ms
        slot.deliver(
            Turn(
                micro_turn=micro_turn,
                audio=output.audio,
                events=events,
                lag_ms=lag_ms,
                waiting=waiting,
                dropped=dropped,
            )
        )
