"""One live session as the engine keeps it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.inference.agent.agent import BackgroundAgent
from microturn.inference.config import ServeConfig
from microturn.inference.conversation import Conversation
from microturn.inference.notes import make_notes
from microturn.inference.serve.codec import ContextText
from microturn.inference.serve.input_queue import InputQueue
from microturn.inference.serve.report import BecameTwin, ContextTaken, Deliver, Problem
from microturn.inference.serve.session.moments import Moments
from microturn.inference.sessions import Session, Sessions
from microturn.inference.tick import OpenedRow

log = logging.getLogger(__name__)
_MAX_WAITING_ACTIONS: Final = 32
_MAX_UNPLAYED: Final = 256  # micro-turns without sound that the conversation is still to be told

Action = Callable[[Conversation], None]  # a request of the user, between two micro-turns


@dataclass(kw_only=True)
class LiveClient:
    """Queue, conversation and counters of one client."""

    name: str
    conversation: Conversation
    deliver: Deliver
    queue: InputQueue
    past: Moments
    actions: deque[Action] = field(default_factory=deque)
    unplayed: deque[int] = field(default_factory=lambda: deque(maxlen=_MAX_UNPLAYED))
    frames: dict[str, NDArray[np.uint8]] = field(default_factory=dict)  # the newest, by lane
    opened: OpenedRow | None = None  # with instructions of its own
    session: Session | None = None  # from its first micro-turn on
    twin_of: LiveClient | None = None  # until it has the other one's past
    deadline_missed: int = 0
    lag_ms: float = 0.0  # of the last micro-turn
    has_left: bool = False

    def next_text(self) -> list[int]:
        """Tell the conversation what it has to know, and return its ids for `text_in`."""
        while self.unplayed:
            self.conversation.mark_unplayed(self.unplayed.popleft())
        self.past.keep(self.conversation)
        self.conversation.record.frames = self.frames
        return self.conversation.next_text()

    def pass_over(self, n: int) -> None:
        """Let `n` micro-turns pass that the model made nothing in."""
        n_early = max(0, n - self.past.most)
        self.conversation.pass_over(n_early)
        for _ in range(n - n_early):
            self.past.keep(self.conversation)
            self.conversation.pass_over(1)

    def become_twin(self, sessions: Sessions) -> None:
        """Take over the past of the client that it is to be a twin of, between two micro-turns.

        Its queue was copied before, so that both go on with the same input.
        """
        source, self.twin_of = self.twin_of, None
        assert source is not None
        if source.has_left:
            self.has_left = True
            sentence = "the session ended before its twin had begun"
            self.deliver(Problem(message=sentence, fatal=True))
            return
        with self.alone():
            self.conversation = source.conversation.twin(f"{self.name}-")
            self.frames, self.opened = source.frames, source.opened
            if source.session is not None:
                self.session = sessions.fork(source.session)
                self.queue.skip_to(sessions.micro_turns(self.session))
            self.deliver(BecameTwin(micro_turn=self.queue.end))

    def go_back(self, n: int, sessions: Sessions) -> int:
        """Go back `n` micro-turns from the last one that arrived; returns the next one's place.

        Raises ValueError when less is kept.
        """
        if not self.past.most:
            raise ValueError("this server keeps nothing to go back to; start it with rewind_s=10")
        n_read, to = self.queue.n_read, self.queue.end - n
        oldest = n_read if self.past.oldest is None else self.past.oldest
        if self.session is not None:
            oldest = max(oldest, sessions.oldest(self.session))
        if to < oldest:
            most = self.queue.end - oldest
            raise ValueError(f"cannot go back {n} micro-turns: {most} are kept at this moment")
        self.queue.rewind(to)
        if to < n_read and self.session is not None:
            sessions.rewind(self.session, to=to)
            earlier = self.past.go_back(to)
            self.conversation.go_back_to(earlier)
            self.conversation, self.frames = earlier, earlier.record.frames
            self.unplayed.clear()
        return to

    def ask(self, action: Action) -> None:
        """Queue a request; raises ValueError when too many wait already."""
        if len(self.actions) >= _MAX_WAITING_ACTIONS:
            raise ValueError(
                f"{_MAX_WAITING_ACTIONS} requests wait already; this one was not taken: send fewer"
            )
        self.actions.append(action)

    def carry_out(self) -> None:
        """Carry out the first request; the next one waits for the others' micro-turns."""
        if not self.actions:
            return
        action = self.actions.popleft()
        with self.alone():
            try:
                action(self.conversation)
            except ValueError as error:
                self.deliver(Problem(message=str(error), fatal=False))

    def adding(self, context: ContextText) -> Action:
        """Return the request to add text to the conversation; what comes of it is delivered."""

        def add(conversation: Conversation) -> None:
            at, event_id = conversation.micro_turn, context.event_id
            try:
                conversation.add_context(
                    context.kind, context.text, delegation_id=context.delegation_id
                )
            except ValueError as error:
                self.deliver(Problem(message=str(error), fatal=False, event_id=event_id))
                return
            self.deliver(ContextTaken(kind=context.kind, micro_turn=at, event_id=event_id))

        return add

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep what fails in the block from the other clients: it ends this one's session."""
        try:
            yield
        except Exception as error:
            log.exception("the conversation of %s failed", self.name)
            self.has_left = True
            self.deliver(Problem(message=f"the conversation failed: {error}", fatal=True))

    def numbers(self, micro_turn_ms: int) -> dict[str, float]:
        """Return the counters of this session and the lag of its last micro-turn."""
        return {
            "micro_turns": self.queue.index,
            "waiting": len(self.queue),
            "missing_input": self.queue.missing_input,
            "dropped": self.queue.dropped,
            "too_late_input": self.queue.too_late_input,
            "deadline_missed": self.deadline_missed,
            "lag_ms": round(self.lag_ms, 3),
            "lead_ms": round(micro_turn_ms - self.lag_ms, 3),
        }


def new_client(
    sessions: Sessions,
    config: ServeConfig,
    *,
    name: str,
    agent: BackgroundAgent | None,
    deliver: Deliver,
) -> LiveClient:
    """Make a client whose conversation begins with its first audio."""
    batch, layout = sessions.batch, sessions.layout
    notes = make_notes(
        config.notes, tokenizer=batch.tokenizer, layout=layout, window=batch.model.cfg.window
    )
    conversation = Conversation(
        layout,
        batch.tokenizer,
        agent=agent,
        config=config.agent,
        name=f"{name}-",
        notes=notes,
        speakable=batch.said,
        instructions=config.instructions,
    )
    queue = InputQueue(
        layout,
        max_waiting=config.max_waiting_micro_turns,
        keep_waiting=config.keep_waiting_micro_turns,
        max_behind_s=config.max_behind_ms / 1000,
        missing_after_s=config.missing_input_after_ms / 1000,
        max_passed=sessions.reach,
    )
    return LiveClient(
        name=name,
        conversation=conversation,
        deliver=deliver,
        queue=queue,
        past=Moments(batch.max_rewind),
    )


def gauges_of(clients: Sequence[LiveClient], micro_turn_ms: int) -> dict[str, float]:
    """Return what the sessions at this moment are like, all together."""
    leads_ms = [c.numbers(micro_turn_ms)["lead_ms"] for c in clients if c.queue.index]
    return {
        "sessions": len(clients),
        "waiting": sum(len(client.queue) for client in clients),
        "lead_seconds": min(leads_ms, default=micro_turn_ms) / 1000,
    }
