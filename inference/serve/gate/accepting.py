"""Takes connections in, and turns others away before anything is built for them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from microturn.inference.serve.gate.gate import Gate, Peer

_AT_ONCE: Final = 8  # connections turned away before it is the others' turn, for so long
_PAUSE_S: Final = 0.001
_WITHOUT_DESCRIPTORS_S: Final = 1.0  # until some are free again, one may hope
_TLS_HANDSHAKE_S: Final = 10.0
_REFUSE_S: Final = 1.0  # for the request of who is turned away
_MAX_REFUSING: Final = 16  # at once; others are closed without a word
_UNREAD_BYTES: Final = 1 << 14  # of a request, which nobody looks at


class _Counted(socket.socket):
    """The socket of a connection; the gate counts it until it is closed."""

    def __init__(self, connection: socket.socket, peer: Peer, gate: Gate) -> None:
        super().__init__(fileno=connection.detach())
        self.setblocking(False)
        self._leave: Callable[[], None] | None = lambda: gate.disconnect(peer)

    def close(self) -> None:
        super().close()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class Accepting:
    """The loop that accepts on one listening socket; `make` builds what serves a connection."""

    def __init__(
        self,
        listener: socket.socket,
        gate: Gate,
        make: Callable[[], asyncio.Protocol],
        *,
        certificate: ssl.SSLContext | None,
    ) -> None:
        listener.setblocking(False)
        self._listener, self._gate, self._make = listener, gate, make
        self._certificate = certificate
        self._beginning: set[asyncio.Task[None]] = set()
        self._refusing: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Take no more connections in; those that were taken in go on."""
        self._task.cancel()

    async def _accept(self) -> None:
        loop, n_turned_away = asyncio.get_running_loop(), 0
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError:  # no descriptor is free
                await asyncio.sleep(_WITHOUT_DESCRIPTORS_S)
                continue
            n_turned_away += not self._take_in(connection, peer[:2])
            is_flood = n_turned_away and n_turned_away % _AT_ONCE == 0
            await asyncio.sleep(_PAUSE_S if is_flood else 0)

    def _take_in(self, connection: socket.socket, peer: Peer) -> bool:
        def cut() -> None:
            with suppress(OSError):
                counted.shutdown(socket.SHUT_RDWR)

        reason = self._gate.connect(peer, cut)
        if not reason:
            counted = _Counted(connection, peer, self._gate)
            _run(self._begin(counted), self._beginning)
        elif self._certificate is None and len(self._refusing) < _MAX_REFUSING:
            _run(_refuse(connection, reason), self._refusing)
        else:  # in a flood, or where TLS would have to be spoken first
            connection.close()
        return not reason

    async def _begin(self, connection: socket.socket) -> None:
        """Hand a connection to its protocol; with a certificate their handshake comes first."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._certificate,
                ssl_handshake_timeout=_TLS_HANDSHAKE_S if self._certificate else None,
            )
        except OSError:  # it did not stay, or speaks no TLS
            connection.close()


def _run(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Start a task and keep it in a set for as long as it runs."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _refuse(connection: socket.socket, reason: str) -> None:
    """Say why in HTTP, after the request, since few clients read before they have written."""
    loop = asyncio.get_running_loop()
    with connection, suppress(OSError, TimeoutError):
        async with asyncio.timeout(_REFUSE_S):
            await loop.sock_recv(connection, _UNREAD_BYTES)
            await loop.sock_sendall(connection, _refusal(reason))
            connection.shutdown(socket.SHUT_WR)


def _refusal(reason: str) -> bytes:
    """Write a whole answer of HTTP that says why nothing is read."""
    text = reason.encode()
    head = (
        "HTTP/1.1 429 Too Many Requests",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + text
