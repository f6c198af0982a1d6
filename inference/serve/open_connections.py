"""The conversations of a server: each is told when it stops."""

from __future__ import annotations

import asyncio
from secrets import compare_digest
from typing import Final

from starlette.websockets import WebSocket

from microturn.inference.serve.codec import Codec
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
            await connection.serve(self._make_room)
        finally:
            del self._tasks[task]

    async def resume(
        self, websocket: WebSocket, token: str, n_received: int, *, codec: Codec
    ) -> None:
        """Go on with the conversation of a client whose connection was lost.

        Raises ValueError when there is none with this token in the protocol of `codec`, and for
        more messages than were sent.
        """
        await self.find(token, codec).come_back(websocket, n_received)

    def find(self, token: str, codec: Codec) -> Connection:
        """Return the conversation that has this token; raises ValueError as `resume` does."""
        for connection in self._tasks.values():
            if connection.token and compare_digest(connection.token.encode(), token.encode()):
                if type(connection.codec) is not type(codec):
                    raise ValueError(
                        "this session speaks another protocol; use the path at which it began"
                    )
                return connection
        raise ValueError("this session is over or was never here; begin another one")

    def _make_room(self) -> bool:
        """End the conversation of the client that is away longest; False when none may be ended."""
        now_s = asyncio.get_running_loop().time()
        longest = min(self._tasks.values(), key=lambda connection: connection.spare_from_s)
        if longest.spare_from_s > now_s:
            return False
        longest.give_place()
        return True

    async def stop(self) -> None:
        """End every conversation; returns when each client was told or did not listen."""
        self._is_stopping = True
        for connection in self._tasks.values():
            connection.stop(_STOPPED)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=2 * GOODBYE_S)
