"""The conversations of a server, each of which is told when it stops."""

from __future__ import annotations

import asyncio
from typing import Final

from microturn.inference.serve.connection import GOODBYE_S, Connection

_STOPPED: Final = "the server stops"


class OpenConnections:
    """Connections from their first message to their last; for one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._is_stopping = False

    async def serve(self, connection: Connection) -> None:
        """Serve one client until its conversation ends."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = connection
        if self._is_stopping:
            connection.stop(_STOPPED)
        try:
            await connection.serve()
        finally:
            del self._tasks[task]

    async def stop(self) -> None:
        """End every conversation; returns when each client was told or did not listen."""
        self._is_stopping = True
        for connection in self._tasks.values():
            connection.stop(_STOPPED)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=2 * GOODBYE_S)
