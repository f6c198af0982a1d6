"""The process of a back end: packages in, events out, as JSON lines on stdin and stdout.

`process.py` starts it. The first line is the configuration; every further one is a package or the
number of a job to cancel. It ends with its stdin, so it never outlives the server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import IO, Any, Final

from microturn.configs.load import load_config
from microturn.inference.agent.agent import MAX_RESULT, Status
from microturn.inference.agent.backend import Backend, NoAnswer, Reply, Work, make_backend
from microturn.inference.agent.cards import MAX_CARDS, Card, card_to_json, clean
from microturn.inference.agent.package import ContextPackage
from microturn.inference.config import AgentConfig

_MAX_LINE: Final = 1 << 26  # bytes of a package
_MAX_PARTIALS: Final = 32  # of one delegation
_PROGRESS_BURST: Final = 20  # steps of progress at once, and then
_PROGRESS_PER_S: Final = 5.0
_NICE: Final = 5  # the engine goes first
_CLOSE_S: Final = 2.0


class _Reporter:
    """What a back end tells of one delegation, within bounds."""

    def __init__(self, number: int, out: IO[str]) -> None:
        self._number, self._out = number, out
        self._n_partials = self._n_cards = 0
        self._credit, self._credit_s = float(_PROGRESS_BURST), 0.0

    def progress(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        earned = (now - self._credit_s) * _PROGRESS_PER_S
        self._credit, self._credit_s = min(self._credit + earned, _PROGRESS_BURST), now
        if self._credit >= 1.0:
            self._credit -= 1.0
            self.send("progress", text)

    def partial(self, text: str) -> None:
        self._n_partials += 1
        if self._n_partials <= _MAX_PARTIALS:
            self.send("partial", text)

    def show(self, card: Card) -> None:
        self._n_cards += 1
        if self._n_cards <= MAX_CARDS:
            self.send("progress", "", cards=(card,))

    def supersede(self, delegation_id: str) -> None:
        self.send("progress", "", supersedes=delegation_id)

    def send(
        self, status: Status, text: str = "", *, cards: tuple[Card, ...] = (), supersedes: str = ""
    ) -> None:
        """Write an event; its text is cut to size."""
        event: dict[str, Any] = {"job": self._number, "status": status}
        event["text"] = clean(text, MAX_RESULT, lines=True)
        event["cards"] = [card_to_json(card) for card in cards[:MAX_CARDS]]
        event["supersedes"] = supersedes
        self._out.write(json.dumps(event) + "\n")
        self._out.flush()


class _Worker:
    """Runs the jobs of one back end."""

    def __init__(self, backend: Backend | None, refusal: str, out: IO[str]) -> None:
        self._backend, self._refusal, self._out = backend, refusal, out
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def obey(self, message: dict[str, Any]) -> None:
        """Start or cancel a job."""
        number = int(message["job"])
        if "package" not in message:
            if number in self._tasks:
                self._tasks[number].cancel()
            return
        package = ContextPackage.from_json(message["package"])
        task = asyncio.create_task(self._run(number, package))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _run(self, number: int, package: ContextPackage) -> None:
        reporter = _Reporter(number, self._out)
        reporter.send("accepted")
        if self._backend is None:
            reporter.send("failed", self._refusal)
            return
        try:
            answer = await self._backend.answer(Work(package=package, tell=reporter))
            if not isinstance(answer, Reply):
                raise TypeError(f"a back end returns an Reply, not {type(answer).__name__}")
            reporter.send("final", answer.text, cards=answer.cards)
        except NoAnswer as error:
            reporter.send("failed", str(error))
        except Exception as error:  # a broken tool must not leave the conversation waiting
            # Where it broke, but not its message, which may hold words of the conversation.
            lines = traceback.format_tb(error.__traceback__)
            sys.stderr.write("".join([*lines, f"background agent: {type(error).__name__}\n"]))
            reporter.send("failed", f"the background agent failed: {type(error).__name__}: {error}")

    async def close(self) -> None:
        """End all jobs and let go of the back end, within bounded time."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*tasks, return_exceptions=True)
                if self._backend is not None:
                    await self._backend.close()


async def work(out: IO[str]) -> None:
    """Obey stdin until it ends."""
    reader = asyncio.StreamReader(limit=_MAX_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    config = load_config(AgentConfig, beneath=json.loads(await reader.readline()))
    backend, refusal = None, ""
    try:
        backend = make_backend(config)
    except (ValueError, OSError) as error:
        refusal = str(error)
        sys.stderr.write(f"background agent: {refusal}\n")
    worker = _Worker(backend, refusal, out)
    while line := await reader.readline():
        worker.obey(json.loads(line))
    await worker.close()


def main() -> None:
    """Run the worker; what a back end prints goes to stderr, not between the events."""
    os.nice(_NICE)
    logging.disable(logging.CRITICAL)  # libraries log what they were sent
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asyncio.run(work(out))
    os._exit(0)  # threads of a hanging back end keep nobody waiting


if __name__ == "__main__":
    main()
