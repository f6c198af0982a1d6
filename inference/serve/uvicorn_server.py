"""uvicorn with limits: connections that cannot be kept by not reading, and an end that is told.

uvicorn reads what comes as fast as it comes, answers pings into a buffer without bounds, and closes
a connection only when the client has read everything. One hostile client can make all others wait
for either. `tests/inference/serve/test_hostile_clients.py` holds each of these limits against it.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from microturn.inference.serve.closing import CLOSE_NOT_ALLOWED
from microturn.inference.serve.connection import CUT_OFF
from microturn.inference.serve.gate.accepting import Accepting
from microturn.inference.serve.gate.gate import PEER, Gate
from microturn.inference.serve.pace import Allowance

_SLICE_BYTES: Final = 2_048  # parsed at once; of the smallest frames it holds 341
_CLOSE_S: Final = 3.0  # for the client to read the last messages and to answer the close
# What may have been under way when it was closed.
_MAX_LATE_FRAMES: Final = 100
_MAX_LATE_BYTES: Final = 1 << 18
# Pings, pongs and pieces of messages.
_MAX_SMALL_FRAMES: Final = 500
_SMALL_FRAMES_PER_S: Final = 50.0
_REQUEST_S: Final = 10.0  # for the head of a request, from the connection or its first byte on
# Of requests: nothing here takes a body.
_MAX_REQUEST_BYTES: Final = 1 << 20
_REQUEST_BYTES_PER_S: Final = float(1 << 18)


class GuardedHttp(H11Protocol):
    """A connection of HTTP that is cut when no request comes, or more bytes than requests have."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._bytes = Allowance(most=_MAX_REQUEST_BYTES, per_s=_REQUEST_BYTES_PER_S)
        self._patience: TimerHandle | None = None
        self._is_over = False
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        if not self._bytes.spend(len(data)):
            self.transport.abort()
            return
        super().data_received(data)
        self._wait_for_request()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._is_over = True
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._wait_for_request()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        """Wait for so long, or no longer where a request is being answered."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._is_over or not is_idle:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
        elif self._patience is None:
            self._patience = self.loop.call_later(_REQUEST_S, self.transport.abort)


class GuardedSocket(WebSocketsSansIOProtocol):
    """A WebSocket of uvicorn that one client cannot use to hold up the others.

    What came is parsed a slice at a time, between the work of other connections, and only when the
    application has taken the messages of the slice before.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = _CLOSE_S
        self._unparsed = bytearray()
        self._will_parse = False
        self._small_frames = Allowance(most=_MAX_SMALL_FRAMES, per_s=_SMALL_FRAMES_PER_S)
        self._n_late_frames = self._n_late_bytes = 0
        self._cut: TimerHandle | None = None

    # --- in ------------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        if not self._will_parse:
            self._parse()

    def _parse(self) -> None:
        self._will_parse = False
        if self.transport.is_closing():
            return
        piece = bytes(self._unparsed[:_SLICE_BYTES])
        del self._unparsed[:_SLICE_BYTES]
        super().data_received(piece)
        if self.close_sent:
            self._n_late_bytes += len(piece)
            if self._n_late_bytes > _MAX_LATE_BYTES:
                self._cut_off()
        self._go_on()

    def _go_on(self) -> None:
        """Parse the next slice, or read on, unless the application has messages to take."""
        if self.read_paused or self._will_parse or self.transport.is_closing():
            return
        if self._unparsed:
            self.transport.pause_reading()
            self._will_parse = True
            self.loop.call_soon(self._parse)
        else:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        self._go_on()
        return message

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():  # it is lost soon; until then uvicorn would write to it
            raise ClientDisconnected
        await super().send(message)
        self._go_on()  # the close reads on, so that its answer is found

    def send_receive_event_to_app(self) -> None:
        self._n_late_frames += self.close_sent
        if self._n_late_frames > _MAX_LATE_FRAMES:
            self._cut_off()
            return
        try:
            super().send_receive_event_to_app()
        except InvalidState:  # no UTF-8, and a close right behind it
            self._cut_off()

    def handle_ping(self) -> None:
        if self._may_come():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._may_come():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if self._may_come():
            super().handle_cont(event)

    def _may_come(self) -> bool:
        """Count a frame that is no message of its own; too many end the connection."""
        if self._small_frames.spend():
            return True
        if not self.transport.is_closing():
            reason = "too many pings and pieces of messages"
            disconnect = {"type": "websocket.disconnect", "code": CLOSE_NOT_ALLOWED}
            self.queue.put_nowait(disconnect)  # type: ignore[arg-type]
            self.conn.fail(CLOSE_NOT_ALLOWED, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()
        return False

    # --- the end -------------------------------------------------------------------------------
    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = dict(self.scope["extensions"] or {})
        extensions |= {CUT_OFF: self._cut_off, PEER: self.client}
        self.scope["extensions"] = extensions
        await super().run_asgi()
        if not self.disconnected:  # closing waits for a client that does not read
            self._cut = self.loop.call_later(_CLOSE_S, self._cut_off)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        self._unparsed.clear()
        super().connection_lost(exc)

    def _cut_off(self) -> None:
        self.transport.abort()


class GuardedServer(uvicorn.Server):
    """A server with a gate, which stops in order.

    No new clients, a goodbye to each, then the connections.
    """

    def __init__(
        self, config: uvicorn.Config, *, gate: Gate, drain: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._gate, self._drain = gate, drain
        self._accepting: list[Accepting] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # which accepts whoever comes
        for listener in sockets or ():
            self._accepting.append(
                Accepting(listener, self._gate, self._protocol, certificate=self.config.ssl)
            )

    def _protocol(self) -> GuardedHttp:
        return GuardedHttp(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for accepting in self._accepting:
            accepting.close()
        await self._drain()
        await super().shutdown(sockets)
