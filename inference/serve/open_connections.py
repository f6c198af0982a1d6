"""The conversations of a server: each is told when it stops, and nobody comes back too soon.

Whoever was shown out may come back at once, and a flood does. Its address then waits before each
handshake: that costs the server nothing, and a person behind the same proxy one second.
"""

from __future__ import annotations

import asyncio
from secrets import compare_digest
from typing import Final

from starlette.websockets import WebSocket

from microturn.inference.serve.codec import Codec
from microturn.inference.serve.connection import GOODBYE_S, Connection
from microturn.inference.serve.pace import Allowance

_STOPPED: Final = "the server stops"
_MAX_SHOWN_OUT: Final = 5  # times that an address is shown out before it has to wait
_SHOWN_OUT_PER_S: Final = 0.5  # so often one of them is forgiven
_WAIT_S: Final = 1.0
_MAX_ADDRESSES: Final = 1_000  # that are remembered


class OpenConnections:
    """Connections from their first message to their last; for one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._is_stopping = False
        self._shown_out: dict[str, Allowance] = {}  # by address, the newest last

    async def wait_for_turn(self, address: str) -> None:
        """Wait, before a handshake, if this address was shown out again and again."""
        allowance = self._shown_out.get(address)
        if allowance is not None and not allowance.holds():
            await asyncio.sleep(_WAIT_S)

    async def serve(self, connection: Connection, address: str) -> None:
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
            if connection.was_shown_out:
                self._remember(address)

    async def resume(
        self, websocket: WebSocket, token: str, n_received: int, *, codec: Codec
    ) -> None:
        """Go on with the conversation of a client whose connection was lost.

        Raises ValueError when there is none with this token in the protocol of `codec`, and for
        more messages than were sent.
        """
        await self._find(token, codec).come_back(websocket, n_received)

    def _find(self, token: str, codec: Codec) -> Connection:
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

    def _remember(self, address: str) -> None:
        allowance = self._shown_out.pop(address, None)
        if allowance is None:
            allowance = Allowance(most=_MAX_SHOWN_OUT, per_s=_SHOWN_OUT_PER_S)
        allowance.spend()
        self._shown_out[address] = allowance
        if len(self._shown_out) > _MAX_ADDRESSES:
            del self._shown_out[next(iter(self._shown_out))]
