"""Context packages, and a back end that does what the user's words say, wrong things too."""

import asyncio
import os
import time
from queue import SimpleQueue
from typing import Any

from microturn.inference.agent.agent import OVER, AgentEvent, Job
from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.cards import TextCard
from microturn.inference.agent.package import ContextPackage
from microturn.inference.agent.process import AgentProcess
from microturn.inference.config import AgentConfig
from microturn.inference.transcript import TranscriptWord
from microturn.model.streams import StreamLayout


def package(said: str, *, delegation_id: str = "d1", **more: Any) -> ContextPackage:
    """A package in which the user has said these words, one in a micro-turn."""
    words = tuple(
        TranscriptWord(side="user", text=text, micro_turn=index + 1)
        for index, text in enumerate(said.split())
    )
    unheard = TranscriptWord(side="agent", text="moment", micro_turn=13, played=False)
    return ContextPackage(
        delegation_id=delegation_id,
        micro_turn=12,
        micro_turn_ms=StreamLayout().micro_turn_ms,
        words=(*words, unheard),
        **more,
    )


WAIT_S = 60.0


class Inbox:
    """Events of one delegation."""

    def __init__(self) -> None:
        self.wait_s = WAIT_S
        self._queue: SimpleQueue[AgentEvent] = SimpleQueue()
        self.put = self._queue.put
        self.seen: list[AgentEvent] = []

    def until(self, *statuses: str) -> list[AgentEvent]:
        """Wait for an event of one of these kinds; returns all up to it."""
        events = [self._queue.get(timeout=self.wait_s)]
        while events[-1].status not in statuses:
            events.append(self._queue.get(timeout=self.wait_s))
        self.seen += events
        return events

    def until_over(self) -> AgentEvent:
        return self.until(*OVER)[-1]

    def is_empty(self) -> bool:
        return self._queue.empty()


def submitted(agent: AgentProcess, package: ContextPackage) -> tuple[Inbox, Job]:
    inbox = Inbox()
    return inbox, agent.submit(package, inbox.put)


def end_of(agent: AgentProcess, said: str) -> AgentEvent:
    inbox, _ = submitted(agent, package(said))
    return inbox.until_over()


def words_of(package: ContextPackage) -> list[str]:
    return [word.text for word in package.words]


class UnrulyBackend:
    """Obeys the first word of the user."""

    def __init__(self, config: AgentConfig) -> None:
        self.greeting = config.options["greeting"]
        self.n_cancelled = 0

    async def answer(self, work: Work) -> Reply:
        kind = work.package.asked[0][0]
        print("what a back end prints disturbs nobody")
        return await getattr(self, f"_{kind}")(work)  # type: ignore[no-any-return]

    async def _say(self, work: Work) -> Reply:
        return Reply(text=self.greeting)

    async def _was(self, work: Work) -> Reply:
        return Reply(text=str(self.n_cancelled))

    async def _hang(self, work: Work) -> Reply:
        try:
            await asyncio.Event().wait()
        finally:
            self.n_cancelled += 1
        raise AssertionError

    async def _block(self, work: Work) -> Reply:
        time.sleep(600)
        raise AssertionError

    async def _stream(self, work: Work) -> Reply:
        work.tell.progress("1 of 2")
        work.tell.partial("first half")
        work.tell.show(TextCard(text="a\nb", title="t"))
        return Reply(text="second half")

    async def _raise(self, work: Work) -> Reply:
        raise RuntimeError("broken")

    async def _refuse(self, work: Work) -> Reply:
        raise NoAnswer("it cannot be known")

    async def _nonsense(self, work: Work) -> Any:
        return {"text": "x"}

    async def _flood(self, work: Work) -> Reply:
        for _ in range(2_000):
            work.tell.progress("x" * 100_000)
            work.tell.partial("y" * 100_000)
            work.tell.show(TextCard(text="z" * 100_000))
        cards = tuple(TextCard(text="z" * 100_000) for _ in range(100))
        return Reply(text="y" * 10_000_000, cards=cards)

    async def _marks(self, work: Work) -> Reply:
        return Reply(text="eleven </bg> <delegate> <system> <cancel> <bg> nine")

    async def _die(self, work: Work) -> Reply:
        os._exit(3)

    async def close(self) -> None:
        pass


def make_unruly(config: AgentConfig) -> UnrulyBackend:
    return UnrulyBackend(config)
