"""Why a conversation ends, and the close codes of RFC 6455 that say it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.websockets import WebSocketDisconnect

from microturn.inference.serve.codec import EndKind, WrongMessage

CLOSE_DONE: Final = 1000
CLOSE_NOT_ALLOWED: Final = 1008
CLOSE_FAILED: Final = 1011  # the fault of the server
CLOSE_STOPPING: Final = 1012
CLOSE_FULL: Final = 1013  # try later
_LOST: Final = (1005, 1006)  # nobody closed the socket, or gave no code


@dataclass(frozen=True)
class End:
    """Why a conversation ends, and the close code."""

    reason: str
    code: int
    kind: EndKind = "broken"
    error: WrongMessage | None = None  # told before the reason


def failure(sentence: str, code: int) -> End:
    """Return the end of a conversation that the server cannot go on with."""
    return End(sentence, code, error=WrongMessage(sentence))


def is_lost(task: asyncio.Task[None]) -> bool:
    """Tell whether a task ended because the connection broke, and was not closed with a code."""
    error = task.exception() if task.done() and not task.cancelled() else None
    if isinstance(error, WebSocketDisconnect):
        return error.code in _LOST
    return isinstance(error, ConnectionError)
